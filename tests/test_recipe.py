"""Recipes: what each layer gets, and every fault of a recipe named at once."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from lichen.errors import InputError
from lichen.recipe import Calibration, Choice, Method, Rule, load_recipe, parse_recipe, presets
from lichen.schemes import ActivationScheme, Scheme, trellis
from lichen.solvers import limits, options, scalings, solvers

ABSMAX = Method("absmax")
LAYERS = ["model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj", "lm_head"]
INT8 = 'weights = { bits = 8, granularity = "channel" }\nactivations = { bits = 8 }\n'


def rules_of(*tables: str) -> str:
    return "".join(f"[[layers]]\n{table}\n" for table in tables)


HEAD = Rule(Scheme(8), ActivationScheme(granularity="group", group_size=64), ABSMAX)
TABLE = Rule(Scheme(8), None, ABSMAX)


def test_int8_quantizes_everything_the_heads_inputs_more_finely():
    recipe = load_recipe("int8")
    rule = Rule(Scheme(8), ActivationScheme(), ABSMAX)
    assert recipe.assign(LAYERS) == {LAYERS[0]: rule, LAYERS[1]: rule, "lm_head": HEAD}
    assert recipe.embedding == TABLE


def test_int4_has_trellis_codes_and_keys_values_and_head_in_int8():
    recipe = load_recipe("int4")
    inputs = ActivationScheme(granularity="group", group_size=128)
    for name in ("self_attn.q_proj", "mlp.down_proj"):
        rule = Rule(trellis.SCHEME, inputs, Method("mse"))
        assert recipe.rule(f"model.layers.0.{name}") == rule
    inputs = ActivationScheme(granularity="group", group_size=64)
    assert recipe.rule("model.layers.0.self_attn.v_proj") == Rule(Scheme(8), inputs, ABSMAX)


def test_int4_groups_has_groups_of_32_and_keys_values_and_head_in_int8():
    recipe = load_recipe("int4-groups")
    inputs = ActivationScheme(granularity="group", group_size=32)
    assert recipe.rule("model.layers.0.self_attn.q_proj") == Rule(
        Scheme(4, True, "group", 32), inputs, Method("mse")
    )
    assert recipe.rule("lm_head") == HEAD
    assert recipe.embedding == TABLE
    inputs = ActivationScheme(granularity="group", group_size=64)
    for name in ("k_proj", "v_proj"):
        assert recipe.rule(f"model.layers.0.self_attn.{name}") == Rule(Scheme(8), inputs, ABSMAX)


#: Rows and columns in a block of Qwen2.5-Coder-1.5B.
SHAPES_1_5B = {
    "self_attn.q_proj": (1536, 1536),
    "self_attn.k_proj": (256, 1536),
    "self_attn.v_proj": (256, 1536),
    "self_attn.o_proj": (1536, 1536),
    "mlp.gate_proj": (8960, 1536),
    "mlp.up_proj": (8960, 1536),
    "mlp.down_proj": (1536, 8960),
}


FOUR_BITS = ["int4", "int4-groups", "int4-hqq", "int4-awq", "int4-gptq", "int4-groups-gptq"]
FOUR_BITS += ["int4-gptq-rotated"]


@pytest.mark.parametrize("name", FOUR_BITS)
def test_4_bits_are_at_most_four_and_a_half_with_their_scales(name):
    bits, weights = 0, 0
    for layer, shape in SHAPES_1_5B.items():
        rule = load_recipe(name).rule(f"model.layers.3.{layer}")
        assert isinstance(rule, Rule)
        scheme = replace(rule.scheme, scale_type="float16")
        bits, weights = bits + scheme.stored_bits(*shape), weights + shape[0] * shape[1]
    assert 4.4 < bits / weights <= 4.5


def inputs_of(weights: str, inputs: str) -> ActivationScheme | None:
    text = f'match = "*"\nweights = {{ {weights} }}\nactivations = {{ bits = 8, {inputs} }}'
    rule = parse_recipe(rules_of(text), "mine").rule("x")
    assert isinstance(rule, Rule)
    return rule.activations


@pytest.mark.parametrize(
    ("weights", "size"),
    [("bits = 4", 32), ("bits = 4, group_size = 64", 64), ("bits = 8", 128)],
    ids=["of-32", "of-64", "rows"],
)
def test_inputs_in_groups_have_the_groups_of_the_weights(weights, size):
    expected = ActivationScheme(granularity="group", group_size=size)
    assert inputs_of(weights, 'granularity = "group"') == expected


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("group_size = 32", "have a group_size, but a scale per token"),
        ('granularity = "group", group_size = 64', "need the group_size of the weights"),
        ("dynamic = false", "are static per token; static ones have one scale per tensor"),
        ('granularity = "tensor"', "are dynamic per tensor"),
        ('range = "mse"', "have a range to choose, but are dynamic"),
    ],
)
def test_inputs_that_contradict_themselves_are_refused(inputs, message):
    with pytest.raises(InputError, match=message):
        inputs_of("bits = 4", inputs)


@pytest.mark.parametrize("chosen", ["absmax", "percentile", "mse", "entropy"])
def test_static_inputs_choose_their_range(chosen):
    inputs = f'granularity = "tensor", dynamic = false, range = "{chosen}"'
    text = f'match = "*"\nweights = {{ bits = 8 }}\nactivations = {{ bits = 8, {inputs} }}'
    recipe = parse_recipe(rules_of(text), "mine")
    rule = recipe.rule("x")
    assert isinstance(rule, Rule)
    assert rule.range_ == chosen
    assert rule.static
    assert recipe.calibrated


STATIC = 'match = "*"\nweights = { bits = 8 }\n' + (
    'activations = { bits = 8, granularity = "tensor", dynamic = false }'
)


def test_static_inputs_without_calibration_are_a_contradiction():
    text = "[calibration]\nsequences = 0\n" + rules_of(STATIC)
    with pytest.raises(InputError, match=r"need to see inputs, and calibration\.sequences is 0"):
        parse_recipe(text, "mine")


def test_how_much_is_seen_can_be_said():
    text = "[calibration]\nsequences = 8\nlength = 256\n" + rules_of(STATIC)
    assert parse_recipe(text, "mine").calibration == Calibration(8, 256, 0)
    assert parse_recipe(rules_of(STATIC), "mine").calibration == Calibration()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sequences = -1", "calibration.sequences is -1, must be at least 0"),
        ("length = 1", "calibration.length is 1, must be at least 2"),
        ('text = "x"', "unknown key 'text' in calibration"),
        ("seed = 0.5", "seed in calibration is 0.5, not a whole number"),
    ],
)
def test_impossible_calibrations_are_refused(line, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(f"[calibration]\n{line}\n" + rules_of(STATIC), "mine")
    assert message in str(caught.value)


# --- a budget of bits ------------------------------------------------------------------------

CHOICES = 'match = "*"\nchoices = [{ bits = 3 }, { bits = 4, group_size = 64 }]\nsolver = "mse"'


def test_choices_share_what_else_is_said():
    recipe = parse_recipe("bits = 4.25\n" + rules_of(CHOICES), "mine")
    small, large = Scheme(3, True, "group", 32), Scheme(4, True, "group", 64)
    mse = Method("mse")
    assert recipe.rule("x") == Choice((Rule(small, None, mse), Rule(large, None, mse)))
    assert recipe.bits == 4.25
    assert recipe.calibrated, "sensitivity is measured on text"


def test_a_settled_recipe_has_no_choices_left():
    recipe = parse_recipe("bits = 4.25\n" + rules_of(CHOICES), "mine")
    choice = recipe.rule("x")
    assert isinstance(choice, Choice)
    settled = recipe.settled({"x": 1})
    assert settled.rule("x") == choice.rules[1]
    assert settled.rule("y") is None
    assert not settled.calibrated


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rules_of(CHOICES), "has choices, but the recipe has no bits to spend"),
        ("bits = 4\n" + rules_of(f'match = "*"\n{INT8}'), "no table has choices to spend it on"),
        ("bits = 0\n" + rules_of(CHOICES), "bits is 0.0, must be above 0"),
        (
            "bits = 4\n" + rules_of('match = "*"\nchoices = [{ bits = 4 }]'),
            "has 1 tables, must have at least 2",
        ),
        (
            "bits = 4\n" + rules_of(CHOICES + "\nweights = { bits = 8 }"),
            "has weights and choices",
        ),
        (
            "bits = 4\n" + rules_of('match = "*"\nchoices = [{ bits = 4 }, { bits = 7 }]'),
            "layers[1].choices[2].bits is 7 (supported: 8, 6, 5, 4, 3, 2)",
        ),
    ],
    ids=["no-bits", "no-choices", "none", "one", "both", "bits-7"],
)
def test_budgets_that_make_no_sense_are_refused(text, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(text, "mine")
    assert message in str(caught.value)


# --- solvers and their options ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('solver = "absmax"\nsolver_options = { x = 1 }', "(absmax has: none)"),
        ("scaling_options = { x = 1 }", "has scaling_options, but no scaling"),
        ('scaling = "absmax"', 'layers[1].scaling is "absmax" (supported: "awq", "smoothquant")'),
    ],
)
def test_unknown_options_and_methods_are_refused(lines, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(rules_of(f'match = "*"\nweights = {{ bits = 8 }}\n{lines}'), "mine")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('scaling = "smoothquant"\nscaling_options = { alpha = 2.0 }', "alpha@ is 2.0, not 0 to 1"),
        ('scaling = "smoothquant"\nscaling_options = { alpha = nan }', "alpha@ is NaN, not 0 to 1"),
        ('scaling = "smoothquant"\nscaling_options = { grid = 0 }', "grid@ is 0, not 1 to 1000"),
        ('scaling = "awq"\nscaling_options = { grid = 0 }', "grid@ is 0, not 1 to 1000"),
        ('solver = "mse"\nsolver_options = { turns = -1 }', "turns@ is -1, not 0 to 1000"),
        ('solver = "hqq"\nsolver_options = { norm = 1 }', "norm@ is 1, not between 0 and 1"),
        (
            'solver = "percentile"\nsolver_options = { percentile = 50 }',
            "percentile@ is 50, not above 50 and at most 100",
        ),
        (
            'solver = "gptq"\nsolver_options = { damping = 0.0 }',
            "damping@ is 0.0, not above 0 and at most 10",
        ),
        ('solver = "gptq"\nsolver_options = { sweeps = 4294967296 }', "not 0 to 1000"),
    ],
)
def test_options_out_of_range_are_refused_with_what_is_allowed(lines, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(rules_of(f'match = "*"\nweights = {{ bits = 8 }}\n{lines}'), "mine")
    kind = "scaling" if "scaling" in lines else "solver"
    assert message.replace("@", f" in layers[1].{kind}_options") in str(caught.value)


@pytest.mark.parametrize("name", [*solvers(), *scalings()])
def test_every_option_that_is_a_number_has_limits_and_its_default_keeps_them(name):
    numbers = {key: value for key, value in options(name).items() if type(value) is not bool}
    assert numbers.keys() == limits(name).keys()
    assert all(limits(name)[key].allows(value) for key, value in numbers.items())


def test_the_embedding_has_a_table_of_its_own():
    text = rules_of(f'match = "*"\n{INT8}') + "[embedding]\nweights = { bits = 4 }"
    rule = parse_recipe(text, "mine").embedding
    assert rule == Rule(Scheme(4, True, "group", 32), None, ABSMAX)


def test_an_embedding_sees_no_inputs():
    text = rules_of(f'match = "*"\n{INT8}')
    text += '[embedding]\nweights = { bits = 4 }\nsolver = "gptq"'
    with pytest.raises(InputError, match=r"embedding\.solver gptq needs inputs; a table has none"):
        parse_recipe(text, "mine")


@pytest.mark.parametrize("size", [64, 128])
def test_inputs_of_int8_may_come_in_groups(size):
    inputs = f'bits = 8, granularity = "group", group_size = {size}'
    text = rules_of(f'match = "*"\nweights = {{ bits = 8 }}\nactivations = {{ {inputs} }}')
    expected = ActivationScheme(granularity="group", group_size=size)
    assert parse_recipe(text, "mine").rule("x") == Rule(Scheme(8), expected, ABSMAX)


def test_four_bits_come_in_groups_of_32_unless_it_is_said():
    text = rules_of('match = "*"\nweights = { bits = 4 }')
    assert parse_recipe(text, "mine").rule("x") == Rule(Scheme(4, True, "group", 32), None, ABSMAX)
    text = rules_of('match = "*"\nweights = { bits = 4, symmetric = false, group_size = 128 }')
    assert parse_recipe(text, "mine").rule("x") == Rule(
        Scheme(4, False, "group", 128), None, ABSMAX
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("bits = 9", "layers[1].weights.bits is 9 (supported: 8, 6, 5, 4, 3, 2)"),
        ("bits = 4, group_size = 48", "group_size is 48 (supported: 32, 64, 128)"),
        ('bits = 4, granularity = "channel", group_size = 32', "but one scale per channel"),
        ('bits = 8, granularity = "tensor", group_size = 32', "but one scale per tensor"),
    ],
)
def test_formats_that_do_not_go_together_are_refused(weights, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(rules_of(f'match = "*"\nweights = {{ {weights} }}'), "mine")
    assert message in str(caught.value)


def test_every_preset_is_described_and_loads():
    assert "int8" in presets()
    assert list(presets()) == sorted(presets())
    for name, description in presets().items():
        assert load_recipe(name).description == description != ""


def test_the_first_match_decides():
    text = rules_of('match = "*.down_proj"\nkeep = true', f'match = "*.layers.*"\n{INT8}')
    recipe = parse_recipe(text, "mine")
    assert recipe.rule(LAYERS[1]) is None
    assert recipe.rule(LAYERS[0]) is not None
    assert recipe.rule("lm_head") is None, "a layer that no pattern matches is kept"


def test_weights_without_activations_leave_inputs_in_floats():
    rule = parse_recipe(rules_of('match = "*"\nweights = { bits = 8 }'), "mine").rule("x")
    assert rule == Rule(Scheme(8), None, ABSMAX)


def test_a_file_is_read_by_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(load_recipe("int8").text)
    recipe = load_recipe(path)
    assert recipe.name == "mine"
    assert recipe.digest == load_recipe("int8").digest
    assert recipe.rules == load_recipe("int8").rules


def test_the_digest_changes_with_the_text():
    text = load_recipe("int8").text
    assert parse_recipe(text, "a").digest != parse_recipe(text + "\n", "a").digest


def test_all_faults_are_named_at_once():
    text = "speed = 1\n" + rules_of(
        'match = 3\nweights = { bits = 9, group = 32 }\nactivations = { bits = 4 }\nsolver = "x"',
        'match = "*"\nkeep = true\nsolver = "absmax"',
        'match = "*"',
        f"{INT8}",
        'match = "*"\nweights = { granularity = "row" }',
    )
    with pytest.raises(InputError) as caught:
        parse_recipe(text, "mine")
    assert str(caught.value) == (
        "recipe mine: unknown key 'speed' (known: description, bits, rotate, layers,"
        " embedding, calibration); match in layers[1] is 3, not a string; unknown key 'group' in"
        " layers[1].weights (known: bits, symmetric, granularity, group_size, trellis);"
        " layers[1].weights.bits is 9 (supported: 8, 6, 5, 4, 3, 2);"
        " layers[1].activations.bits is 4 (supported: 8);"
        ' layers[1].solver is "x" (supported: "absmax", "entropy", "gptq", "hqq", "mse",'
        ' "percentile"); layers[2] keeps its layers'
        " and yet has solver; layers[3] needs either keep = true or a weights table; layers[4] has"
        " no match pattern; layers[5].weights does not say how many bits;"
        ' layers[5].weights.granularity is "row" (supported: "tensor", "channel", "group").'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a =", "not valid TOML"),
        ("", "no [[layers]] table"),
        ("layers = 3", "not a list of tables"),
        ("layers = [3]", "layers[1] is not a table"),
        (rules_of('match = "*"\nweights = { bits = true }'), "not a whole number"),
    ],
    ids=["broken", "empty", "no-list", "no-table", "true-is-no-number"],
)
def test_unusable_files_say_why(text, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(text, "mine")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (['match = "*.c_attn"\nkeep = true', f'match = "*"\n{INT8}'], "matches no layer"),
        ([f'match = "*"\n{INT8}', 'match = "lm_head"\nkeep = true'], "earlier patterns"),
        (['match = "*"\nkeep = true'], "no layer is quantized"),
    ],
    ids=["matches-nothing", "shadowed", "keeps-all"],
)
def test_a_recipe_that_does_not_fit_the_model_is_refused(tables, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(rules_of(*tables), "mine").assign(LAYERS)
    assert message in str(caught.value)
    assert "model.layers.0.mlp.up_proj" in str(caught.value)


def test_an_unknown_name_lists_the_presets():
    with pytest.raises(InputError, match=r"no recipe 'int9'; lichen has .*int8"):
        load_recipe("int9")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_recipe(tmp_path / "none.toml")


def test_presets_are_plain_toml():
    for name in presets():
        assert tomllib.loads(load_recipe(name).text)["layers"]
