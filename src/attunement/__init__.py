"""Attunement: an evaluation-driven gym for fine-tuning safe, empathetic support-conversation models.

Read ``dvc.yaml`` first, then the stage modules in its order: fetch, curate, train, select, respond, score,
bench, gate, report. A model that is occasionally harmful is worse than no model, so nothing passes that
has not been measured.
"""

__version__ = "0.1.0"
