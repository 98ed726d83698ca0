"""What fits into the memory of a session fits there with libraries that map much more."""

import pytest

from sandbox import Limits, Sandbox

CODE = (
    "import numpy as np, pandas as pd, pyarrow as pa\npa.array([1])\n"
    "pd.DataFrame({'a': np.ones(40_000_000)}).shape"
)


@pytest.mark.slow
@pytest.mark.libraries
def test_a_table_of_a_third_of_the_limit_can_be_made_with_arrow_beside_it() -> None:
    pytest.importorskip("pyarrow", reason="Run: make test-libraries")
    with Sandbox(pool_size=0) as box:
        outcome = box.run(CODE, limits=Limits(wall_s=60, cpu_s=60))
    assert outcome.text == "(40000000, 1)"
