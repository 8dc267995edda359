"""What is fuzzed, one module a target.

Each has `LONGEST` (bytes of an input), `seeds()` (valid inputs to start from) and
`checker(folder)`: a function of bytes that raises where something is wrong.
"""
