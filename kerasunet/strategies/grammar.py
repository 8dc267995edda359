"""The strategy grammar as a table for people."""

GRAMMAR = (
    ("all, none", "everything; nothing"),
    ("contracting, expanding, bottleneck", "that part; contracting includes bottleneck"),
    ("shallow:K, deep:K", "the first, last K blocks in data-flow order"),
    ("outer:K, inner:K", "the K highest-, lowest-resolution levels, both arms"),
    ("blocks:1-3,7, blocks:enc1,dec2", "blocks by number (enc1 is 1) or name"),
    ("enc1, dec2_conv1, head, enc*_conv1", "blocks and layers by name; * and ? are wildcards"),
    ("norm, bias, kernel", "only that kind of weight, everywhere"),
    ("A&B, A+B, A-B, (A)", "both; either; A without B; & binds tighter than + and -"),
    ("auto, auto:search", "chosen from the training images, by gradients or short trials"),
)


def describe_grammar() -> str:
    """Return the grammar as an aligned table of two columns, one row a line, for `--help`."""
    width = max(len(text) for text, _ in GRAMMAR)
    return "\n".join(f"{text:<{width}}  {meaning}" for text, meaning in GRAMMAR)
