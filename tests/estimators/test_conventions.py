"""The transports follow scikit-learn's conventions: its own checks, parameters, clones, pipelines."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from elastic_ot.sklearn import AssignmentTransport, SinkhornTransport, UnbalancedTransport, WassersteinKMeans

TRANSPORTS = [SinkhornTransport(), UnbalancedTransport(), AssignmentTransport()]


def run(check, estimator):
    state = np.random.get_state()  # noqa: NPY002 - a check may seed the global generator itself
    try:
        check(estimator)
    finally:
        np.random.set_state(state)  # noqa: NPY002


@parametrize_with_checks(TRANSPORTS)
def test_checks_of_the_library(estimator, check):
    run(check, estimator)


UNFIT_DATA = {
    "check_clustering": "it has negative numbers, though input_tags.positive_only is True",
    "check_estimators_dtypes": "it has rows of zeros, which are no histograms",
}


@pytest.mark.slow
@parametrize_with_checks(
    [WassersteinKMeans(2, epsilon="1x", max_iter=3, solve_tol=1e-4)], expected_failed_checks=lambda _: UNFIT_DATA
)
def test_checks_of_the_library_for_clusters(estimator, check):
    run(check, estimator)


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda x: type(x).__name__)
def test_a_clone_has_the_parameters_and_no_fit(transport):
    changed = clone(transport).set_params(metric="euclidean", label_cost=3.0)
    again = clone(changed.fit([[0.0], [1.0]]))
    assert again.get_params() == changed.get_params()
    assert not hasattr(again, "solution_")


def test_a_pipeline_passes_the_target_on():
    rng = np.random.default_rng(0)
    X, Xt = rng.normal(size=(20, 2)), rng.normal(size=(25, 2)) + 5.0
    model = make_pipeline(StandardScaler(), SinkhornTransport(epsilon=0.01))
    model.fit(X, sinkhorntransport__Xt=Xt)
    assert np.abs(model.transform(X).mean(axis=0) - Xt.mean(axis=0)).max() < 0.1


def test_without_scikit_learn_the_way_to_install_it_is_named():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import elastic_ot as eot\n"
        "try: eot.sklearn\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert 'pip install "elastic-ot[sklearn]"' in run.stdout
