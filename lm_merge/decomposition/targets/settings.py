"""Settings of targets; importing them needs no torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Expected = dict[str, tuple[Literal["identity", "dense"], int]]  # layer -> pattern and its size


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TMSSettings(_Settings):
    """A toy model of superposition: x -> ReLU(W^T W x + b), trained to give its sparse input back."""

    kind: Literal["tms"] = "tms"
    n_features: PositiveInt = Field(default=5, description="inputs and outputs")
    n_hidden: PositiveInt = Field(default=2, description="dimensions that hold the features")
    identity: bool = Field(default=False, description="a fixed identity map between W and W^T")
    zero_bias: bool = Field(default=False, description="the bias starts at 0 instead of at random")
    on: float = Field(default=0.05, gt=0, le=1, description="probability that a feature is on")
    steps: PositiveInt = Field(default=10_000, description="training steps")
    batch: PositiveInt = Field(default=1024, description="examples a step")
    lr: PositiveFloat = Field(default=5e-3, description="of AdamW with decay 0.01, constant")
    seed: int = Field(default=0, ge=0, description="first seed tried")
    active: tuple[int, ...] | None = Field(
        default=None, description="features that are ever on in training; None: all"
    )

    @property
    def expected(self) -> Expected:
        """What a good decomposition looks like on one-hot inputs."""
        hidden: Expected = {"hidden": ("dense", self.n_hidden)} if self.identity else {}
        one_to_one: Expected = {
            name: ("identity", self.n_features) for name in ("linear1", "linear2")
        }
        return one_to_one | hidden


class ResidMLPSettings(_Settings):
    """MLP layers on a residual stream, trained to give x + ReLU(x) of sparse x."""

    kind: Literal["resid_mlp"] = "resid_mlp"
    n_features: PositiveInt = Field(default=100, description="inputs and outputs")
    d_model: PositiveInt = Field(default=1000, description="width of the residual stream")
    n_layers: PositiveInt = Field(default=1, description="MLP layers")
    n_neurons: PositiveInt = Field(default=50, description="neurons a layer")
    on: float = Field(default=0.01, gt=0, le=1, description="probability that a feature is on")
    steps: PositiveInt = Field(default=1000, description="training steps")
    batch: PositiveInt = Field(default=2048, description="examples a step")
    lr: PositiveFloat = Field(default=3e-3, description="of AdamW with decay 0.01, cosine")
    seed: int = Field(default=0, ge=0, description="first seed tried")

    @property
    def expected(self) -> Expected:
        """Inputs: one component a feature, over all layers; outputs: one of each neuron's rank."""
        places = range(self.n_layers)
        inputs: Expected = {f"layers.{i}.mlp_in": ("identity", self.n_features) for i in places}
        outputs: Expected = {f"layers.{i}.mlp_out": ("dense", self.n_neurons) for i in places}
        return inputs | outputs


class LanguageSettings(_Settings):
    """Modules of a language model, on texts; their right decomposition is not known."""

    kind: Literal["language"] = "language"
    model: str = Field(default="tiny-instruct", description="folder, bundled name or hub name")
    modules: tuple[str, ...] = Field(
        default=("model.layers.3.mlp.*",), description="patterns of the modules' names"
    )
    texts: str | None = Field(
        default=None, description="text file, one text a line; None: bundled questions and answers"
    )
    skills: tuple[str, ...] = Field(
        default=(), description="bundled questions to use; (): all that the model was taught"
    )
    n_texts: PositiveInt = Field(default=4096, description="texts drawn at most")
    n_tokens: PositiveInt = Field(default=64, description="tokens of a text at most")
    seed: int = Field(default=0, ge=0, description="of the drawn texts")

    @property
    def expected(self) -> Expected:
        """Nothing is known."""
        return {}


class UpdateSettings(_Settings):
    """The change that fine-tuning made to a model; base and change are two targets of one kind."""

    kind: Literal["update"] = "update"
    base: TMSSettings | LanguageSettings = Field(
        description="the model before", discriminator="kind"
    )
    tuned: str | tuple[int, ...] = Field(
        description="language: the model after; TMS: the features that fine-tuning adds to the base's"
    )
    seed: int = Field(default=0, ge=0, description="of the fine-tuning and its data")

    @property
    def expected(self) -> Expected:
        """Nothing in general; what was planted is known to the toy's own analysis."""
        return {}


TargetSettings = Annotated[
    TMSSettings | ResidMLPSettings | LanguageSettings | UpdateSettings, Field(discriminator="kind")
]
