"""A fitted estimator."""

import pytest
from estimators import PICTURES, made


@pytest.fixture(scope="package")
def fitted():
    return made({"train.learning_rate": 0.01}).fit(PICTURES)
