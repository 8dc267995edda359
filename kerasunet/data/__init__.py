"""Cases, and everything that is done to them before a network sees them."""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.data.augmentation import augment as augment
    from kerasunet.data.augmentation_settings import (
        NO_AUGMENTATION as NO_AUGMENTATION,
        Augmentation as Augmentation,
    )
    from kerasunet.data.cases import (
        AnnotatedCase as AnnotatedCase,
        Case as Case,
        DataSet as DataSet,
        FileCase as FileCase,
        MaskCoding as MaskCoding,
        Sample as Sample,
        SimulatedCase as SimulatedCase,
    )
    from kerasunet.data.decoding import (
        DecodedCases as DecodedCases,
        decode as decode,
        foreground_shares as foreground_shares,
        resize_image as resize_image,
        resize_mask as resize_mask,
    )
    from kerasunet.data.loading import (
        SIMULATED as SIMULATED,
        load as load,
        require_outside as require_outside,
    )
    from kerasunet.data.readers.files import count_frames as count_frames, read_image as read_image
    from kerasunet.data.readers.levels import gray_levels as gray_levels
    from kerasunet.data.splits import Split as Split, split_cases as split_cases
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
