"""BERT with heads over the mean of its tokens: how MiniLM was tuned to hold the sense of a text.

In: token ids, mask and segments, (batch, time). Out: logits, (batch, head). Detoxify's format knows the first token
alone, which this encoder leaves nearly empty; the other classifiers read the mean (Reimers & Gurevych 2019).
"""

import torch
from transformers import BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooled(BertForSequenceClassification):  # type: ignore[misc]  # transformers ships no types
    """As its base, with the mean over the text's tokens in place of the pooler."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_: object,
    ) -> SequenceClassifierOutput:
        """Logits, (batch, head)."""
        mean = self.pooled(input_ids, attention_mask, token_type_ids)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(mean)))

    def pooled(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The mean of the last layer over the tokens that are no padding, (batch, width)."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask,
                           token_type_ids=token_type_ids).last_hidden_state
        return mean_of(hidden, attention_mask)


def mean_of(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The mean over the tokens that are no padding: (batch, token, width) to (batch, width)."""
    mask = attention_mask[..., None].to(hidden.dtype)
    mean: torch.Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    return mean
