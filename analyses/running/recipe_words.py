"""A recipe in words, and the one weight of the donors that all of it shares."""

from lm_merge.recipes import Recipe, Source, as_source


def source_name(source: Source) -> str:
    """The model's name; `model@revision`, `model+adapter` where these are given: another model."""
    given = as_source(source)
    name = given.model if given.revision is None else f"{given.model}@{given.revision}"
    return name if given.adapter is None else f"{name}+{given.adapter}"


def recipe_words(recipe: Recipe) -> str:
    """Models, space, operator, weight and blocks.

    >>> recipe_words(Recipe(host="a", donors=("b",), layers={3: 0.25, 5: 0.75}))
    'a + b, latents slerp 0.25 at block 3, 0.75 at block 5'
    """
    models = " + ".join(source_name(one) for one in (recipe.host, *recipe.donors))
    alpha, layers = own_alpha(recipe), recipe.layers
    if alpha is None and isinstance(layers, dict):
        amount = ", ".join(f"{one:g} at block {layer}" for layer, one in layers.items())
    else:
        amount = "" if alpha is None else f"{alpha:g}"
        blocks = ", ".join(map(str, layers or ()))
        amount += f" at block{'s' * (len(layers or ()) > 1)} {blocks}" if blocks else ""
    return f"{models}, {recipe.space} {recipe.operator} {amount}".rstrip()


def block_alphas(recipe: Recipe) -> dict[int, float]:
    """The donors' weight at each merged block of a recipe for latents."""
    lambda_reg, layers = recipe.operator_args.get("lambda_reg"), recipe.layers
    if isinstance(layers, dict):
        return dict(layers)
    if isinstance(lambda_reg, int | float):
        alpha = 1 / (1 + lambda_reg)  # the regularised mean's pull to the host
    elif recipe.alpha is None:
        raise ValueError("recipe.alpha is missing: give the donors' weight, 0 to 1")
    else:
        alpha = recipe.alpha
    return dict.fromkeys(layers or (), alpha)


def own_alpha(recipe: Recipe) -> float | None:
    """The donors' weight where the whole recipe has one, else None: by block, or not given."""
    if recipe.space != "latents":
        return recipe.alpha
    alphas = set(block_alphas(recipe).values())
    return alphas.pop() if len(alphas) == 1 else None


def at_alpha(recipe: Recipe, alpha: float) -> Recipe:
    """The recipe with one weight of the donors everywhere, in place of its own."""
    arguments = {key: one for key, one in recipe.operator_args.items() if key != "lambda_reg"}
    layers = {} if recipe.layers is None else {"layers": tuple(recipe.layers)}
    return recipe.with_fields(alpha=alpha, operator_args=arguments, **layers)
