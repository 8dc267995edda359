"""Pre-training and fine-tuning: settings in, a directory with everything that came of it out.

`finetune`, `pretrain` and `Run` belong to `kerasunet.runs`, a room above this one; their names
stand here, looked up when they are first used, so that everything about training has one address.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.architecture import Architecture as Architecture
    from kerasunet.runs.finetuning import Run as Run, finetune as finetune
    from kerasunet.runs.pretraining import pretrain as pretrain
    from kerasunet.training.evaluation import (
        Evaluation as Evaluation,
        evaluate as evaluate,
        overfit_one_batch as overfit_one_batch,
    )
    from kerasunet.training.settings import (
        FinetuneSettings as FinetuneSettings,
        Optimization as Optimization,
        PretrainSettings as PretrainSettings,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
