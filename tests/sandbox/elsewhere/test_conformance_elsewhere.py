"""What every sandbox does, with engines that are not the docker command's usual one: `../test_conformance.py` again."""

import runpy
from pathlib import Path

_suite = runpy.run_path(str(Path(__file__).parents[1] / "test_conformance.py"))
globals().update({name: test for name, test in _suite.items() if name.startswith("test_")})
