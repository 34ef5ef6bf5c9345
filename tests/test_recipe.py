"""Recipes: what each layer gets, and every fault of a recipe named at once."""

from __future__ import annotations

import tomllib

import pytest

from lichen.errors import InputError
from lichen.recipe import Rule, load_recipe, parse_recipe, presets
from lichen.schemes import ActivationScheme, Scheme

LAYERS = ["model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj", "lm_head"]
INT8 = 'weights = { bits = 8, granularity = "channel" }\nactivations = { bits = 8 }\n'


def rules_of(*tables: str) -> str:
    return "".join(f"[[layers]]\n{table}\n" for table in tables)


def test_int8_quantizes_everything_but_the_head():
    assigned = load_recipe("int8").assign(LAYERS)
    rule = Rule(Scheme(8), ActivationScheme(), "absmax")
    assert assigned == {LAYERS[0]: rule, LAYERS[1]: rule, "lm_head": None}


def test_int4_has_groups_of_32_and_a_head_in_int8():
    recipe = load_recipe("int4")
    inputs = ActivationScheme(granularity="group", group_size=32)
    assert recipe.rule(LAYERS[0]) == Rule(Scheme(4, True, "group", 32), inputs, "mse")
    assert recipe.rule("lm_head") == Rule(Scheme(8), ActivationScheme(), "absmax", keep_tied=True)


@pytest.mark.parametrize(
    "inputs",
    ['granularity = "group"', "group_size = 32", 'granularity = "group", group_size = 64'],
)
def test_inputs_in_groups_have_the_groups_of_the_weights(inputs):
    text = rules_of(
        f'match = "*"\nweights = {{ bits = 4 }}\nactivations = {{ bits = 8, {inputs} }}'
    )
    with pytest.raises(InputError, match="per group need the group_size of the weights"):
        parse_recipe(text, "mine")


def test_four_bits_come_in_groups_of_32_unless_it_is_said():
    text = rules_of('match = "*"\nweights = { bits = 4 }')
    assert parse_recipe(text, "mine").rule("x") == Rule(
        Scheme(4, True, "group", 32), None, "absmax"
    )
    text = rules_of('match = "*"\nweights = { bits = 4, symmetric = false, group_size = 128 }')
    assert parse_recipe(text, "mine").rule("x") == Rule(
        Scheme(4, False, "group", 128), None, "absmax"
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ('bits = 4, granularity = "channel"', "layers[1].weights has 4 bits, which come in groups"),
        ("bits = 4, group_size = 48", "group_size is 48 (supported: 32, 64, 128)"),
        ("bits = 8, group_size = 32", "layers[1].weights has 8 bits, which are symmetric and per"),
        ("bits = 8, symmetric = false", "layers[1].weights has 8 bits, which are symmetric and"),
    ],
)
def test_formats_that_do_not_go_together_are_refused(weights, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(rules_of(f'match = "*"\nweights = {{ {weights} }}'), "mine")
    assert message in str(caught.value)


def test_every_preset_is_described_and_loads():
    assert "int8" in presets()
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
    assert rule == Rule(Scheme(8), None, "absmax")


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
        "recipe mine: unknown key 'speed' (known: description, layers); match in layers[1] is 3,"
        " not a string; unknown key 'group' in layers[1].weights (known: bits, symmetric,"
        " granularity, group_size); layers[1].weights.bits is 9 (supported: 8, 4);"
        " layers[1].activations.bits is 4 (supported: 8);"
        ' layers[1].solver is "x" (supported: "absmax", "mse"); layers[2] keeps its layers'
        " and yet has solver; layers[3] needs either keep = true or a weights table; layers[4] has"
        " no match pattern; layers[5].weights does not say how many bits;"
        ' layers[5].weights.granularity is "row" (supported: "channel", "group").'
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
