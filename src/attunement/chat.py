"""The one place that knows the chat template, the loss mask and generation.

A dialogue is rendered by the tokenizer's own template with marks in place of the words; the template's pieces
are tokenised with special tokens, the words without them. So an end-of-turn token typed by a person stays text
and can not forge a turn, and the mask of what is learnt from is exact for any template: the words of each
assistant turn and the end-of-turn token after them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from attunement.errors import ModelError
from attunement.records import Role, StoppedBy, Turn

if TYPE_CHECKING:
    import torch

Engine = Literal["batches", "continuous"]
IGNORED = -100  # torch's cross_entropy leaves out targets with this value


@dataclass(frozen=True)
class Encoded:
    """A dialogue as tokens. ``targets`` equals ``input_ids`` where the loss is taken, else IGNORED; both (time,)."""

    input_ids: tuple[int, ...]
    targets: tuple[int, ...]
    n_cut_turns: int

    @property
    def n_targets(self) -> int:
        """Tokens that are learnt from; the first token of a sequence is never predicted."""
        return sum(target != IGNORED for target in self.targets[1:])


@dataclass(frozen=True)
class Generated:
    """A reply. ``n_tokens`` counts generated tokens without the end-of-turn token."""

    text: str
    stopped_by: StoppedBy
    n_tokens: int


class TooLongError(ModelError):
    """Not even the last exchange fits into the window."""


def with_system(turns: Sequence[Turn], system_prompt: str) -> tuple[Turn, ...]:
    """The turns behind the project's system prompt; a system turn of their own is replaced."""
    spoken = [turn for turn in turns if turn.role != "system"]
    return (Turn(role="system", text=system_prompt), *spoken)


def encode(tokenizer: Any, turns: Sequence[Turn], *, system_prompt: str, max_tokens: int) -> Encoded:
    """Tokens and targets of a dialogue, cut at turn boundaries to ``max_tokens`` by leaving out its oldest turns.

    The system prompt always stays. Raises TooLongError when even the last exchange does not fit.
    """
    spoken = [turn for turn in turns if turn.role != "system"]
    for cut in range(len(spoken)):
        if spoken[cut].role != "user":
            continue
        encoded = _encode_whole(tokenizer, with_system(spoken[cut:], system_prompt), n_cut_turns=cut)
        if len(encoded.input_ids) <= max_tokens:
            return encoded
    raise TooLongError(f"no exchange of the dialogue fits into {max_tokens} tokens; raise chat.max_context_tokens.")


def encode_prompt(tokenizer: Any, context: Sequence[Turn], *, system_prompt: str, max_tokens: int) -> tuple[int, ...]:
    """Tokens of a context up to where the assistant's reply begins; the oldest turns are left out if need be."""
    spoken = [turn for turn in context if turn.role != "system"]
    for cut in range(len(spoken)):
        if spoken[cut].role != "user":
            continue
        pieces = _pieces(tokenizer, with_system(spoken[cut:], system_prompt), add_generation_prompt=True)
        ids = [token for piece in pieces for token in piece.ids]
        if len(ids) <= max_tokens:
            return tuple(ids)
    raise ModelError(f"the last turn of a prompt does not fit into {max_tokens} tokens; raise chat.max_context_tokens.")


@dataclass(frozen=True)
class _Piece:
    """A stretch of the rendered dialogue: the template's own text, or the words of one turn."""

    ids: tuple[int, ...]
    role: Role | None


def _pieces(tokenizer: Any, turns: Sequence[Turn], *, add_generation_prompt: bool) -> list[_Piece]:
    marks = [f"\ue000{i}\ue001" for i in range(len(turns))]
    messages = [{"role": turn.role, "content": mark} for turn, mark in zip(turns, marks, strict=True)]
    rendered = _rendered(tokenizer, messages, add_generation_prompt=add_generation_prompt)
    pieces, rest = [], rendered
    for turn, mark in zip(turns, marks, strict=True):
        before, found, rest = rest.partition(mark)
        if not found:
            raise ModelError(f"the tokenizer's chat template leaves out a {turn.role} turn; use a model with a "
                             "template that keeps system, user and assistant turns.")
        pieces.append(_Piece(ids=_template_ids(tokenizer, before), role=None))
        words = tokenizer(turn.text, add_special_tokens=False, split_special_tokens=True).input_ids
        pieces.append(_Piece(ids=tuple(words), role=turn.role))
    pieces.append(_Piece(ids=_template_ids(tokenizer, rest), role=None))
    return pieces


def _rendered(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
    """The template's text, in which the system turn begins the user's first where it is refused by itself.

    Gemma's and Mistral's refuse it. Raises ModelError when the turns are refused all the same.
    """
    from jinja2 import TemplateError

    system, user, *rest = messages
    folded = [{"role": user["role"], "content": f"{system['content']}\n\n{user['content']}"}, *rest]
    refused: TemplateError | None = None
    for attempt in (messages, folded):
        try:
            return str(tokenizer.apply_chat_template(attempt, tokenize=False,
                                                     add_generation_prompt=add_generation_prompt))
        except TemplateError as error:
            refused = error
    raise ModelError(f"the tokenizer's chat template refuses a dialogue of {len(messages)} turns: {refused}. Let the "
                     "turns of user and assistant alternate, or use a model whose template takes them.") from refused


def _template_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False).input_ids) if text else ()


def _encode_whole(tokenizer: Any, turns: Sequence[Turn], *, n_cut_turns: int) -> Encoded:
    """The loss is taken over assistants' words and what follows them up to the end-of-turn token.

    Raises ModelError when the template puts none there: the model would not learn to stop.
    """
    ends = end_of_turn_ids(tokenizer)
    ids: list[int] = []
    targets: list[int] = []
    after_assistant = False
    for piece in _pieces(tokenizer, turns, add_generation_prompt=False):
        learnt = [piece.role == "assistant"] * len(piece.ids)
        if after_assistant:
            n = _up_to_end(tokenizer, piece.ids, ends)
            learnt[:n] = [True] * n
        ids += piece.ids
        targets += [token if yes else IGNORED for token, yes in zip(piece.ids, learnt, strict=True)]
        after_assistant = piece.role == "assistant"
    return Encoded(input_ids=tuple(ids), targets=tuple(targets), n_cut_turns=n_cut_turns)


def _up_to_end(tokenizer: Any, ids: Sequence[int], ends: tuple[int, ...]) -> int:
    """How many tokens there are up to the end of an assistant's turn; Llama 2 has a space before it."""
    n = next((i + 1 for i, token in enumerate(ids) if token in ends), 0)
    if n == 0 or tokenizer.decode(ids[: n - 1]).strip():
        raise ModelError("the tokenizer's chat template puts no end-of-turn token after an assistant's turn, so that a "
                         "model would not learn to stop; use a tokenizer whose template or eos_token has one.")
    return n


def end_of_turn_ids(tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end an assistant's turn: what the template puts after one, and the tokenizer's own end."""
    rest = _pieces_after_assistant(tokenizer)
    first = rest[:1] if rest and rest[0] in tokenizer.all_special_ids else ()
    return tuple(dict.fromkeys((*first, tokenizer.eos_token_id)))


def _pieces_after_assistant(tokenizer: Any) -> tuple[int, ...]:
    talk = (Turn(role="system", text="s"), Turn(role="user", text="u"), Turn(role="assistant", text="a"))
    return _pieces(tokenizer, talk, add_generation_prompt=False)[-1].ids


@contextmanager
def undisturbed(model: "torch.nn.Module", seed: int) -> Iterator[None]:
    """Generate inside a training loop without a trace: modes of all submodules and random states are restored."""
    import torch

    modes = {module: module.training for module in model.modules()}
    devices = [p.device for p in list(model.parameters())[:1] if p.device.type == "cuda"]
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    engine: Engine = "batches",
    on_batch: Callable[[int], None] = lambda n: None,
) -> list[Generated]:
    """Greedy replies to tokenised prompts, in their order; batches hold prompts of like length, padded on the left.

    ``engine``: ``batches``, or ``continuous``, transformers' continuous batching, which fills the place of a reply that
    has ended with the next prompt: for GPUs, and not to the same bytes from run to run. ``on_batch`` is told how many
    prompts were answered. Left padding is masked, so a prompt's reply depends on its neighbours by rounding alone; in
    bfloat16 that is enough to choose another word now and then, after which a reply goes its own way. Compare replies
    made in equal batches.
    """
    replies: dict[int, Generated] = {}
    with undisturbed(model, seed):
        if engine == "continuous":
            return _generate_continuously(model, tokenizer, prompts, max_new_tokens)
        for batch in batches_of_like_length(prompts, batch_size):
            answers = _generate_batch(model, tokenizer, [prompts[i] for i in batch], max_new_tokens)
            replies.update(zip(batch, answers, strict=True))
            on_batch(len(batch))
    return [replies[i] for i in range(len(prompts))]


def batches_of_like_length(prompts: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Indices of prompts by batch, the longest first."""
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i), reverse=True)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _generate_batch(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[Generated]:
    import torch

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ends = end_of_turn_ids(tokenizer)
    width = max(len(prompt) for prompt in prompts)
    device = next(model.parameters()).device
    rows = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    output = model.generate(
        input_ids=torch.tensor(rows, device=device),
        attention_mask=torch.tensor(mask, device=device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=pad,
        eos_token_id=list(ends),
    )
    return [_reply_of(tokenizer, row, ends) for row in output[:, width:].tolist()]


def _generate_continuously(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[Generated]:
    """Raises ModelError when the engine left a prompt unanswered: it only logs what went wrong."""
    from transformers import GenerationConfig

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    ends, attention = end_of_turn_ids(tokenizer), base.config._attn_implementation
    config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=list(ends),
                              pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id)
    base.set_attn_implementation("sdpa")
    try:
        answers = base.generate_batch(inputs=[list(prompt) for prompt in prompts], generation_config=config)
    finally:
        base.set_attn_implementation(attention)
    found = [answer.generated_tokens for answer in answers.values() if not answer.error]
    if len(found) != len(prompts):
        raise ModelError(f"continuous batching answered {len(found)} of {len(prompts)} prompts; set respond.engine: "
                         "batches in params.yaml.")
    return [_reply_of(tokenizer, list(tokens), ends) for tokens in found]


def _reply_of(tokenizer: Any, tokens: list[int], ends: tuple[int, ...]) -> Generated:
    stop = next((i for i, token in enumerate(tokens) if token in ends), None)
    words = tokens if stop is None else tokens[:stop]
    text = tokenizer.decode(words, skip_special_tokens=True).strip()
    return Generated(text=text, stopped_by="length" if stop is None else "end_of_turn", n_tokens=len(words))
