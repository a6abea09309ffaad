import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from paramgraph import node_tables
from paramgraph.nodes import linear_layers, weighted_layers

EXPERTS, WIDTH, INNER = 3, 6, 4


class Experts(nn.Module):
    """Stacks of given shapes, and what else the module says of itself."""

    def __init__(self, shapes, **attributes):
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.arange(float(torch.Size(shape).numel())).reshape(shape)))
        for name, value in attributes.items():
            setattr(self, name, value)


def turned(shapes):
    return {name: (e, b, a) for name, (e, a, b) in shapes.items()}


def orientations(module):
    found = weighted_layers(nn.ModuleDict({"experts": module}))
    return {layer.layer.parameter: layer.layer.transposed for layer in found.values()}


FUSED = {"gate_up": (EXPERTS, 2 * INNER, WIDTH), "down": (EXPERTS, WIDTH, INNER)}
SPLIT = {"w1": (EXPERTS, INNER, WIDTH), "w3": (EXPERTS, INNER, WIDTH), "w2": (EXPERTS, WIDTH, INNER)}
PLAIN = {"up": (EXPERTS, INNER, WIDTH), "down": (EXPERTS, WIDTH, INNER)}
SQUARE = {"gate_up": (EXPERTS, 2 * WIDTH, WIDTH), "down": (EXPERTS, WIDTH, WIDTH)}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("shapes", "attributes"),
    [(FUSED, {}), (SQUARE, {}), (SPLIT, {"hidden_size": WIDTH}), (PLAIN, {"hidden_size": WIDTH})],
    ids=["fused gate", "square", "gate apart", "no gate"],
)
def test_the_layout_follows_from_shapes(shapes, attributes, transposed):
    module = Experts(turned(shapes) if transposed else shapes, **attributes)
    assert orientations(module) == {f"experts.{name}": transposed for name in shapes}


@pytest.mark.parametrize("transposed", [False, True])
def test_what_a_module_says_goes_before_its_shapes(transposed):
    assert set(orientations(Experts(FUSED, is_transposed=transposed)).values()) == {transposed}


@pytest.mark.parametrize(("shape", "transposed"), [((2, 5, 7), False), ((2, 7, 5), True)])
def test_the_layout_of_one_stack_follows_from_its_sizes(shape, transposed):
    module = Experts({"weight": shape}, input_size=7, output_size=5)
    assert orientations(module) == {"experts.weight": transposed}


def test_a_square_stack_is_read_as_its_class_is_elsewhere():
    class Parallel(Experts):
        pass

    square = Parallel({"weight": (2, 5, 5)}, input_size=5, output_size=5)
    other = Parallel({"weight": (2, 7, 5)}, input_size=7, output_size=5)
    assert weighted_layers(nn.ModuleDict({"a": square})) == {}
    assert weighted_layers(nn.ModuleDict({"a": square, "b": other}))["a.weight[1]"].layer.transposed


@pytest.mark.parametrize(
    "module",
    [
        Experts({"kernel": (2, 5, 7)}),
        Experts({"q": (8, 2, 4), "k": (8, 2, 4)}),  # heads of XLNet
        Experts(PLAIN),  # without a gate and a width the two layouts look alike
        nn.Bilinear(3, 4, 5),
        nn.Conv1d(3, 4, 5),
    ],
    ids=["alone", "heads", "no width", "bilinear", "convolution"],
)
def test_what_is_not_known_to_be_a_stack_is_none(module):
    assert weighted_layers(nn.ModuleDict({"experts": module})) == {}


def test_biases_of_experts_are_no_stacks():
    shapes = {**FUSED, "gate_up_bias": (EXPERTS, 1, 2 * INNER), "down_bias": (EXPERTS, WIDTH)}
    assert set(orientations(Experts(shapes))) == {"experts.gate_up", "experts.down"}


@pytest.fixture(params=["plain", "transposed"])
def experts(request):
    shapes = turned(FUSED) if request.param == "transposed" else FUSED
    model = nn.ModuleDict({"0": nn.ModuleDict({"experts": Experts(shapes)})})
    return model, request.param == "transposed"


@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_lines_of_an_expert_are_those_of_its_matrix(experts, scheme):
    model, transposed = experts
    tables = node_tables(model, scheme)
    parameters = dict(model.named_parameters())
    assert len(tables) == 2 * EXPERTS
    for name, stack in parameters.items():
        for expert in range(EXPERTS):
            matrix = stack[expert].T if transposed else stack[expert]
            X = tables[f"{name}[{expert}]"].gather(parameters)
            assert torch.equal(X, matrix if scheme == "rows" else matrix.T)
            assert X.untyped_storage().data_ptr() == stack.untyped_storage().data_ptr()  # a view, not a copy


def test_blocks_of_an_expert_are_tiles_of_its_matrix():
    model = nn.ModuleDict({"experts": Experts(FUSED)})
    stack = model["experts"].down
    table = node_tables(model, "blocks", size=2)["experts.down[1]"]
    X = table.gather({"experts.down": stack})
    assert torch.equal(X[3].reshape(2, 2), stack[1, 2:4, 2:4])
    assert table.names[3] == "experts.down[1][2:4, 2:4]"


def test_all_experts_of_all_layers_are_nodes_of_one_table():
    layers = [nn.ModuleDict({"experts": Experts(FUSED)}) for _ in range(2)]
    tables = node_tables(nn.ModuleList(layers), "layers")
    assert {name: table.shape for name, table in tables.items()} == {
        "*.experts.gate_up": (2 * EXPERTS, 2 * INNER * WIDTH),
        "*.experts.down": (2 * EXPERTS, WIDTH * INNER),
    }
    assert set(tables["*.experts.down"].role) == {"experts.down"}
    assert tables["*.experts.down"].layer == (0,) * EXPERTS + (1,) * EXPERTS


def test_a_table_of_many_experts_is_written_into_one_stack():
    table = node_tables(nn.ModuleDict({"experts": Experts({**FUSED, "down": (50, WIDTH, INNER)})}), "layers")
    table = table["experts.down"]
    X = torch.arange(float(50 * WIDTH * INNER)).reshape(table.shape)
    made = []

    class Allocations(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            found = operation(*args, **(kwargs or {}))
            if "new_zeros" in str(operation):
                made.append(found.numel())
            return found

    with Allocations():
        (stack,) = table.scatter(X).values()
    assert torch.equal(stack, X.reshape(50, WIDTH, INNER))
    assert made == [X.numel()]


def test_a_slice_and_its_table_say_which_matrix_of_a_stack_they_are(experts):
    model, _ = experts
    layers = {layer.group: layer for layer in linear_layers(model)}
    for group, table in node_tables(model).items():
        (part,) = table.slices
        assert (part.expert, part.matrix_shape) == (layers[group].expert, layers[group].shape)
        assert table.expert == part.expert
        assert part.shape == (EXPERTS, *part.matrix_shape)


def test_a_matrix_of_its_own_is_no_expert():
    table = node_tables(nn.Sequential(nn.Linear(2, 3)))["0.weight"]
    (part,) = table.slices
    assert (part.expert, part.matrix_shape) == (-1, (3, 2))
    assert table.expert == -1


def test_a_table_of_many_experts_is_of_none(experts):
    assert {table.expert for table in node_tables(experts[0], "layers").values()} == {-1}


@pytest.mark.parametrize(
    ("targets", "number"),
    [
        (["experts.down"], EXPERTS),  # as in PEFT's target_parameters
        (["experts"], 2 * EXPERTS),
        (["0.experts.down[1]"], 1),
        (r".*\.gate_up\[[02]\]", 2),
        (r"0\.experts\.down", EXPERTS),
    ],
    ids=["stack", "module", "expert", "expression", "expression of the stack"],
)
def test_targets_name_stacks_modules_and_experts(targets, number):
    model = nn.ModuleDict({"0": nn.ModuleDict({"experts": Experts(FUSED)})})
    assert len(node_tables(model, targets=targets)) == number
    if number < 2 * EXPERTS:
        assert len(node_tables(model, exclude=targets)) == 2 * EXPERTS - number


def test_a_slip_of_the_pen_is_told_the_name_of_the_stack():
    with pytest.raises(ValueError, match=r"near names: experts\.down, "):
        node_tables(nn.ModuleDict({"experts": Experts(FUSED)}), targets=["exprts.down"])


def test_a_tied_stack_is_counted_once():
    first, second = Experts(FUSED), Experts(FUSED)
    second.down = first.down
    assert len(node_tables(nn.ModuleDict({"a": first, "b": second}))) == 3 * EXPERTS


# PEFT 0.21 asks transformers 5.23 for an attribute by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_of_stacks_change_no_names():
    model = nn.ModuleDict({"experts": Experts(FUSED), "fc": nn.Linear(2, 2)})
    before = [layer.group for layer in linear_layers(model)]
    adapted = get_peft_model(
        model, LoraConfig(r=2, target_modules=[], target_parameters=["experts.gate_up", "experts.down"])
    )
    after = linear_layers(adapted)
    assert [
        layer.group.removeprefix("base_model.model.").replace("base_layer.", "") for layer in after
    ] == before
    assert all(layer.parameter in dict(adapted.named_parameters()) for layer in after)
    for name in (after[0].parameter, after[0].group, "experts.gate_up", "experts.gate_up[0]"):
        assert linear_layers(adapted, [name])[0] == after[0]
