"""One run: its data, its directory, fine-tuning, pre-training, and a run in the background."""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.runs.background import BackgroundRun as BackgroundRun, Progress as Progress
    from kerasunet.runs.directory import RunDirectory as RunDirectory, exclusive as exclusive
    from kerasunet.runs.finetuning import Run as Run, finetune as finetune
    from kerasunet.runs.preparation import (
        PreparedData as PreparedData,
        fitting_start as fitting_start,
        load_pretraining_data as load_pretraining_data,
        prepare as prepare,
        require_trained_head as require_trained_head,
    )
    from kerasunet.runs.pretraining import Pretrained as Pretrained, pretrain as pretrain
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
