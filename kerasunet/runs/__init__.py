"""One run: its data, its directory, fine-tuning, pre-training, and a run in the background."""

from kerasunet import lazy_members

_MEMBERS = {
    "BackgroundRun": "kerasunet.runs.background",
    "PreparedData": "kerasunet.runs.preparation",
    "Pretrained": "kerasunet.runs.pretraining",
    "Progress": "kerasunet.runs.background",
    "Reporter": "kerasunet.runs.reporting",
    "Run": "kerasunet.runs.finetuning",
    "RunDirectory": "kerasunet.runs.directory",
    "finetune": "kerasunet.runs.finetuning",
    "held": "kerasunet.runs.directory",
    "load_pretraining_data": "kerasunet.runs.preparation",
    "prepare": "kerasunet.runs.preparation",
    "pretrain": "kerasunet.runs.pretraining",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
