"""One run: its data, its directory, fine-tuning and pre-training, here or in the background."""

from kerasunet import lazy_members

_MEMBERS = {
    "BackgroundRun": "kerasunet.runs.background",
    "Run": "kerasunet.runs.finetuning",
    "finetune": "kerasunet.runs.finetuning",
    "pretrain": "kerasunet.runs.pretraining",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
