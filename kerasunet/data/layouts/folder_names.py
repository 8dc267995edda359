"""What names of folders mean: parts, classes, folds, visits, batches; all others are patients.

`as_seen` makes names of folders, files and patients equal if they look the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

_LOOKALIKES = str.maketrans(  # Cyrillic and Greek letters, on keyboards of two alphabets.
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABESIJKMHOPCTYXaesijopcyxABEZHIKMNOPTYX"
)
COPY = (
    "copy|kopi[eao]?|copie|c[oó]pia|kopya|másolat|salinan|копи[яје]|копія|αντίγραφο|αντιγραφή|"
    "コピー|副本|拷[贝貝]|복사본|사본|نسخة|עותק|สำเนา"
)
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout", "hold-out"), "test"),
}
OF_PART = re.compile(rf"(?i)(?:.+[ _-])?({'|'.join(PARTS)})([ _-]?(set|data(set)?|split|20\d\d))?")
NUMBER_OF_FOLD = re.compile(r"(?:k[ _-]?)?(?:fold|split|cv)[ _-]?(\d+)", re.IGNORECASE)
_OF_CLASS = (
    "(case|image|patient|subject|scan|sample|group|mass|lesion|tumou?r|nodule|grade|risk)(e?s)?"
)
_CLASS_NAMES = re.compile(
    "(benign|malignant|normal|abnormal|healthy|sick|diseased|control|positive|negative|male|female|"
    "yes|no|cancer|(no_?)?tumou?r|lesion|mass|cyst|nodule|polyp|adenoma|fibroadenoma|papilloma|"
    "hematoma|(adeno)?carcinoma|melanoma|nevus|lymphoma|sarcoma|metastas[ie]s|glioma|meningioma|"
    "pituitary|hemangioma|lipoma|abscess|(micro)?calcification|covid(_?19)?|tuberculosis|glaucoma|"
    "((viral|bacterial)_)?pneumonia|viral|bacterial|(pleural_)?effusion|lung_opacity|atelectasis|"
    "cardiomegaly|infiltration|consolidation|edema|emphysema|fibrosis|pneumothorax|finding|dcis|idc|"
    "high|low|intermediate|mild|moderate|severe|pos|neg|hgg|lgg|luminal|tnbc|triple_negative|her_?2|"
    "(er|pr|hr|her_?2)_?([+_]|pos(itive)?|neg(ative)?)|(non_?)?(responder|survivor)|"
    "良性|恶性|惡性|悪性|正常|异常|양성|악성|정상|gutartig|b(ö|oe)sartig|benign[aeo]|malign[aeo]?|"
    "b[ée]nin|malin|gesund|krank|sain|malade|wom[ae]n|m[ae]n|adult|child(ren)?)"
    f"(e?s)?(_{_OF_CLASS})?|luminal_?[ab]|tr_?[1-5]|"
    "((bi|o|pi|li|(acr_?)?ti)_?rads|acr|gleason|grade|stage|class|type|category)_?"
    "([0-9]|i{1,3}|iv|v|[a-d])[a-d]?"
)
_NUMBERED = re.compile(r"\d[ _.-]+(.+)")
_NUMBER = r"(?:[ _-]?(?:\d{1,3}|[a-z]))?"
_VISIT_OR_SIDE = re.compile(
    r"(day|week|month|year|visit|session|timepoint)(?:[ _-]?(?:\d{1,4}|[a-z]))?|baseline|"
    r"(pre|post|before|after)([ _-]?(op(erative)?|treatment|therapy|chemo(therapy)?|nac|surgery|"
    r"biopsy|contrast|ablation))?|follow[ _-]?up(?:[ _-]?\d{1,3})?|"
    r"(left|right|links|rechts|gauche|droite)(?:[ _-][a-z]+)?|bilateral|"
    r"od|os|ou|[lr]?[ _-]?(cc|mlo)|ap|pa|lateral|frontal|axial|sagittal|coronal|transvers(e|al)|"
    r"longitudinal|[24]ch|a[2-5]c|p[ls]ax|lax|sax|supine|prone|systole|diastole|b[ _-]?mode|"
    r"doppler|elastography|flair|dwi|adc|t[12]w|inspiration|expiration|arterial|"
    r"(portal[ _-]?)?venous|native|rest|stress"
)
_BATCH_OR_SITE = re.compile(
    "(batch|data|dataset|set|part|site|cent(er|re)|hospital|clinic|scanner|device|task|job|project|"
    "export|upload|subset|chunk|cohort|vendor|machine|probe|operator|lab|institut(e|ion)|country|"
    "images|folder|internal|external|ge|philips|siemens|samsung|mindray|canon|toshiba|esaote|"
    rf"fujifilm|hitachi){_NUMBER}|us|ct|mri?|x-?rays?|cxr|ultrasound|linear|convex|curvilinear|"
    r"he|ihc|\d{1,3}x|public|private|source|target|(un)?labell?ed|"
    r"imgs?|image|frames|scans|all|input|"
    r"(new folder|untitled folder|neuer ordner|nouveau dossier|nueva carpeta|新建文件夹|"
    r"新しいフォルダー)( ?\(?\d+\)?)?"
)
_FORMATS = (  # Of files, and other ways to hold the same images.
    r"png|jpe?g|tiff?|bmp|gif|webp|dicom|dcm|nifti|nii|nrrd|mha|\d+x\d+|(8|16)[ _-]?bits?|resized|"
    "(un)?cropped|gr[ae]yscale|rgb|clahe|enhanced|denoised|filtered|normali[sz]ed"
)
_TWICE = f"{_FORMATS}|aug(mented)?|annotator|reader|rater|observer|expert"
_SAME_IMAGES = re.compile(rf"(raw|(pre)?processed|original|gr[ae]y|colou?r|{_TWICE}){_NUMBER}")
_ASIDE = re.compile(
    rf"({_TWICE}|excluded?|discard(ed)?|reject(ed|s)?|removed?|deleted|unused|skip(ped)?|trash|"
    rf"broken|todo|unsure|unclear|old|backups?|archived?|{COPY}|tmp|temp|duplicates?|(pred|"
    r"predict(ion|ed)?|result|output|overlay|debug|vis|visuali[sz]ation|preview|thumbnail)s?)"
    r"([ _-]?v?\d{1,3})?"
)
_WITHIN_PATIENT = re.compile(
    r"(exam(ination)?|study|series|scan|video|clip|loop|sweep|acquisition|acq|sequence|nodule|lesion|"
    r"mass|slices?|plane|volume|roi|se|st|no)?[ _-]?\d{0,4}|(19|20)\d\d[ _.-]?\d\d[ _.-]?\d\d.*"
)
PART, CLASS, FOLD, PATIENT = "part", "class", "fold", "patient"
VISIT, BATCH, OUT = "visit or side", "batch or site", "result, copy or reject"
_SEVERAL = {
    **{PART: "parts", CLASS: "classes", FOLD: "folds", VISIT: "visits or sides"},
    **{BATCH: "batches or sites", OUT: "results, copies or rejects", PATIENT: "patients"},
}
_MOST_NAMED = 5


def as_seen(name: str) -> str:
    """Return a name as it looks: without what is invisible, in Latin letters and digits."""
    plain = unicodedata.normalize("NFKC", name).translate(_LOOKALIKES)
    visible = (c for c in plain if unicodedata.category(c) != "Cf")
    return "".join(str(unicodedata.decimal(c, c)) for c in visible)


def common_kind(names: Sequence[str]) -> str:
    """Return what all folders are; refuse them if they are of several kinds."""
    if len(names) > 1 and all(map(_SAME_IMAGES.fullmatch, names)):
        raise ValueError(
            f"folders {', '.join(names)}: seem to hold the same images in several ways, "
            "which would be in training and test; give the path of one of them"
        )
    if _are_numbered_classes(names):
        return CLASS
    by_kind: dict[str, list[str]] = {}
    for name in names:
        by_kind.setdefault(kind_of_name(name), []).append(name)
    if len(by_kind) == 1:
        return next(iter(by_kind))
    unclear = [*by_kind.get(VISIT, ()), *by_kind.get(BATCH, ())]
    if len(unclear) == 1 and by_kind.keys() <= {VISIT, BATCH, PATIENT}:
        return PATIENT  # Of an unlucky name.
    looks = ", ".join(_look(by_kind[kind], kind) for kind in _SEVERAL if kind in by_kind)
    raise ValueError(
        f"folders {', '.join(names)}: {looks}, and these cannot be told apart; use one kind, or a "
        "manifest.csv"
    )


def _are_numbered_classes(names: Sequence[str]) -> bool:
    """Return whether folders are called `0_normal`, `1_benign` …; `001_benign` may be a patient."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    words = {match[1] for match in found if match and kind_of_name(match[1]) == CLASS}
    return 1 < len(words) == len(names)


def _look(names: Sequence[str], kind: str) -> str:
    more = " …" if len(names) > _MOST_NAMED else ""
    what = f"s like a {kind}" if len(names) == 1 else f" like {_SEVERAL[kind]}"
    return f"{', '.join(names[:_MOST_NAMED])}{more} look{what}"


def kind_of_name(name: str) -> str:
    """Return what a folder looks like, by its name in lower case."""
    if OF_PART.fullmatch(name):
        return PART
    word = re.sub("[ _-]+", "_", name)
    word = re.sub("^(no|non|not|with|without)_", "", word)
    asked = (
        *((CLASS, _CLASS_NAMES, word), (FOLD, NUMBER_OF_FOLD, name), (VISIT, _VISIT_OR_SIDE, name)),
        *((OUT, _ASIDE, word), (BATCH, _BATCH_OR_SITE, name)),
    )
    return next((kind for kind, known, text in asked if known.fullmatch(text)), PATIENT)


def folders_within(keys: Iterable[str]) -> list[str]:
    """Return the folders within those of patients that may be the patients, as in `Bern/P1/x`.

    They are neither visits nor parts of an examination, and more than the folders above them.
    """
    found: dict[str, dict[str, None]] = {}
    for outer, *_, inner in (key.split("/")[:-1] for key in keys if key.count("/") > 1):
        is_other = (
            _WITHIN_PATIENT.fullmatch(inner.lower()) or kind_of_name(inner.lower()) != PATIENT
        )
        found.setdefault(outer, {}).update({} if is_other else {inner: None})
    count = Counter(name for names in found.values() for name in names)
    single = [name for name, of in count.items() if of == 1]
    return [
        f"{outer}/{name}" for outer in found for name in found[outer] if len(single) > len(found)
    ]
