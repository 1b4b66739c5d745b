"""Modules with a schedule of epsilon: what counts as a step, what is saved, derivatives where a call is repeated."""

import copy
import io

import pytest

from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from elastic_ot.applications import EpsilonSchedule  # noqa: E402
from elastic_ot.torch import ElasticAttention, SinkhornRouter  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

WIDTH = 8
SCHEDULE = EpsilonSchedule(2.0, 0.25, 3)
MODULES = {
    "attention": lambda epsilon: ElasticAttention(WIDTH, 2, batch_first=True, epsilon=epsilon),
    "attention, lam fixed": lambda epsilon: ElasticAttention(
        WIDTH, 2, batch_first=True, lam=1.0, learn_lam=False, epsilon=epsilon
    ),
    "router": lambda epsilon: SinkhornRouter(WIDTH, 3, epsilon=epsilon),
}


@pytest.fixture(autouse=True)
def _seeded():
    """The same numbers for every test, and torch's global generator as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def output(module, x):
    return module(x).weight if isinstance(module, SinkhornRouter) else module(x, x, x)[0]


def with_epsilon(name, module, epsilon):
    """The module with a number in the place of its schedule, and the same parameters."""
    other = MODULES[name](epsilon)
    missing, unexpected = other.load_state_dict(module.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["step"])
    return other.train(module.training)


@pytest.mark.parametrize("name", MODULES)
def test_every_call_in_training_takes_the_next_epsilon(name):
    module, x = MODULES[name](SCHEDULE), torch.randn(2, 5, WIDTH)
    for step in range(5):
        assert module.step == step
        assert torch.equal(output(module, x), output(with_epsilon(name, module, SCHEDULE(step)), x))


@pytest.mark.parametrize("name", MODULES)
def test_in_evaluation_epsilon_stays_where_it_is(name):
    module, x = MODULES[name](SCHEDULE), torch.randn(2, 5, WIDTH)
    output(module, x)
    output(module, x)
    module.eval()
    expected = output(with_epsilon(name, module, SCHEDULE(2)), x)
    for _ in range(3):
        assert torch.equal(output(module, x), expected)
        assert module.step == 2


def test_a_causal_module_has_its_schedule_too():
    module, x = MODULES["attention"](SCHEDULE), torch.randn(2, 5, WIDTH)
    for step in range(3):
        fixed = with_epsilon("attention", module, SCHEDULE(step))
        assert torch.equal(module(x, x, x, is_causal=True)[0], fixed(x, x, x, is_causal=True)[0])


@pytest.mark.parametrize("name", MODULES)
def test_a_saved_module_goes_on_where_it_was(name):
    module, x = MODULES[name](SCHEDULE), torch.randn(2, 5, WIDTH)
    output(module, x)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    loaded, duplicate = MODULES[name](SCHEDULE), copy.deepcopy(module)
    loaded.load_state_dict(torch.load(file))
    expected = output(module, x)
    for other in (loaded, duplicate):
        assert other.step == 1
        assert torch.equal(output(other, x), expected)
        assert other.step == module.step == 2


@pytest.mark.parametrize("name", MODULES)
def test_a_number_leaves_the_state_as_it_is_without_schedules(name):
    module = MODULES[name](0.5)
    assert module.step is None
    assert "step" not in module.state_dict()


def test_the_step_may_be_set():
    module, x = MODULES["attention"](SCHEDULE), torch.randn(2, 5, WIDTH)
    module.step.fill_(100)
    assert torch.equal(output(module, x), output(with_epsilon("attention", module, SCHEDULE.end), x))


def test_steps_are_integers_in_half_precision():
    module = MODULES["attention"](SCHEDULE).to(torch.bfloat16)
    module.step.fill_(2049)  # bfloat16 has no odd numbers of that size
    output(module, torch.randn(2, 5, WIDTH, dtype=torch.bfloat16))
    assert module.step == 2050


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_call_repeated_in_the_backward_pass_has_its_own_epsilon_and_does_not_count(name, use_reentrant):
    plain, x = MODULES[name](SCHEDULE), torch.randn(2, 5, WIDTH)
    again = copy.deepcopy(plain)
    for step in range(1, 4):
        slopes = []
        for module, call in (
            (plain, output),
            (again, lambda *given: checkpoint(output, *given, use_reentrant=use_reentrant)),
        ):
            leaf = x.clone().requires_grad_()
            call(module, leaf).square().sum().backward()
            assert module.step == step
            slopes.append([leaf.grad, *(parameter.grad for parameter in module.parameters())])
            module.zero_grad()
        # a reentrant checkpoint runs without derivatives first, where a router's plan comes of other code, to 1e-6
        torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in MODULES])
@pytest.mark.parametrize("training", [True, False])
def test_a_module_with_a_schedule_is_one_graph_that_is_compiled_once(name, training):
    x = torch.randn(2, 5, WIDTH)
    eager = MODULES[name](SCHEDULE).train(training)
    module = copy.deepcopy(eager)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        for step in range(1, 6):
            slopes = []
            for call in (eager, compiled):
                leaf = x.clone().requires_grad_()
                found = output(call, leaf) if name != "router" else call(leaf).weight
                found.square().sum().backward()
                slopes.append((found.detach(), leaf.grad))
            # epsilon is a tensor in single precision there
            torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-5)
            assert eager.step == module.step == (step if training else 0)


def test_a_layer_of_torch_has_a_schedule():
    layer = torch.nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True)
    layer.self_attn = ElasticAttention.from_multihead(layer.self_attn, epsilon=SCHEDULE)
    encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = torch.randn(2, 5, WIDTH)
    encoder(x)
    encoder(x)
    trained = encoder(x)
    assert [name for name, _ in encoder.named_buffers()] == ["layers.0.self_attn.step", "layers.1.self_attn.step"]
    for inner in encoder.layers:
        assert inner.self_attn.step == 3
        inner.self_attn.step.fill_(2)
    with torch.no_grad():
        assert torch.allclose(encoder.eval()(x), trained, rtol=0, atol=1e-6)  # float32


@pytest.mark.parametrize("name", ["attention", "router"])
def test_bad_temperatures_of_modules_are_refused(name):
    make = MODULES[name]
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"epsilon is .*; it must be finite and > 0"):
            make(bad)
    with pytest.raises(TypeError, match=r"epsilon is <function .*; it must be a number > 0 or an EpsilonSchedule"):
        make(lambda step: 1.0)
    with pytest.raises(TypeError, match="epsilon is '1'; it must be a number > 0"):
        make("1")
