"""Python imports this at its start: what tests start looks for garbage less often.

Importing TensorFlow makes much and leaves nothing to collect; looking for it takes a tenth of the
time. A test that counts memory counts at least what users have.
"""

import gc

gc.set_threshold(20_000)
