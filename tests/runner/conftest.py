"""Runner modules are imported from their folder, as a runner process would."""

import sys

from profleet.paths import data_dir

sys.path.insert(0, str(data_dir("runners")))
