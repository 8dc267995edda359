"""Pre-training and fine-tuning: settings in, a directory with everything that came of it out.

`finetune`, `pretrain` and `Run` belong to `kerasunet.runs`, a room above this one; their names
stand here, looked up when they are first used, so that everything about training has one address.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "Architecture": "kerasunet.architecture",
    "Evaluation": "kerasunet.training.evaluation",
    "FinetuneSettings": "kerasunet.training.settings",
    "Optimization": "kerasunet.training.settings",
    "PretrainSettings": "kerasunet.training.settings",
    "Run": "kerasunet.runs.finetuning",
    "evaluate": "kerasunet.training.evaluation",
    "finetune": "kerasunet.runs.finetuning",
    "overfit_one_batch": "kerasunet.training.evaluation",
    "pretrain": "kerasunet.runs.pretraining",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
