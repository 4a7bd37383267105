"""Training configurations: everything that determines a run, but for the data's location and the device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.train.objectives.reconstruction import ReconstructionSettings
from mpcvit.train.objectives.self_distillation import SelfDistillationSettings
from mpcvit.train.stored_logits import StoredLogitsSettings
from mpcvit.train.token_hooks import AnyTokenHook
from mpcvit.train.weight_hooks import AnyWeightHook


class ObjectiveName(StrEnum):
    """What is minimised; one file each in ``mpcvit.train.objectives``."""

    CROSS_ENTROPY = "cross_entropy"
    DISTILLATION = "distillation"
    MPCFORMER_HIDDEN = "mpcformer_hidden"
    MPCFORMER_LOGITS = "mpcformer_logits"
    WEIGHT_DISTILLATION = "weight_distillation"
    NORM_DISTILLATION = "norm_distillation"
    RECONSTRUCTION = "reconstruction"
    SELF_DISTILLATION = "self_distillation"
    STORED_LOGITS = "stored_logits"

    @property
    def trains_the_head(self) -> bool:
        """Whether what is minimised depends on the model's answers, or on what they are made of."""
        return self not in (ObjectiveName.RECONSTRUCTION, ObjectiveName.NORM_DISTILLATION)


class Pipeline(StrEnum):
    """Where pictures are augmented.

    ``PICTURES``: timm's transforms, one picture after another, in worker processes. ``TENSORS``: whole batches of a set
    that lies on the training device; crops, flips and erasing, but no RandAugment.
    """

    PICTURES = "pictures"
    TENSORS = "tensors"


class FloatFormat(StrEnum):
    """Number format of the forward pass. ``AUTO`` is bfloat16 on GPUs and CPUs (AMX) that multiply it, else float32."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Start(StrEnum):
    """First weights: drawn at random, or the teacher's wherever names and shapes agree.

    Quadratic activations in the place of others are then fitted to these.
    """

    FRESH = "fresh"
    TEACHER = "teacher"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run.

    Attributes:
        model: name in timm's registry; with ``architecture``, only a label.
        architecture: instead of a preset; None for the preset.
        data: name of the data set, which fixes the mean and deviation of pixels.
        objective: what is minimised; all but cross entropy and reconstruction need a teacher.
        reconstruction, self_distillation, stored_logits: settings of the objectives of these names.
        token_weight: kappa of :class:`~mpcvit.train.objectives.distillation.Distillation`.
        start: where the first weights come from.
        before: a run that comes first, in ``folder/before``; this one starts from its weights.
        token_hooks: what is added to the tokens of the architecture, in this order.
        weight_hooks: what happens to weights besides the optimiser's steps.
        trained: patterns such as ``head.*`` of the names of the parameters that learn; all others stay as they are.
            Empty for all.
        epochs, batch_size: length of the run, and pictures per step over all processes; the last partial batch of an
            epoch is dropped.
        optimizer, lr, weight_decay: as timm's ``create_optimizer_v2`` takes them.
        selector_rate: share of the learning rate for SPViT's selectors; 0 leaves them as they are.
        layer_decay: each block learns at this share of the rate of the block behind it, the embedding slowest; 1 for
            equal rates.
        warmup_epochs, warmup_lr, warmup_prefix, min_lr, cooldown_epochs: as timm's ``create_scheduler_v2`` takes them,
            for a cosine. ``warmup_lr`` None is a hundredth of ``lr``. With ``warmup_prefix`` the cosine starts after
            the warm-up and the run ends ``warmup_epochs`` before the cosine does. Cooldown epochs come on top of
            ``epochs``.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        smoothing: label smoothing.
        crop_scale: smallest share of the picture that a random crop keeps.
        auto_augment: timm's AutoAugment or RandAugment string, or None.
        erasing: probability of random erasing.
        mixup, cutmix: alpha of each, as timm's ``Mixup`` takes them; 0 is off. Targets become soft, smoothing included.
        mixup_epochs: number of epochs after which pictures are no longer mixed; None is never.
        drop_path: stochastic depth rate of the last block.
        sam_rho: radius of sharpness-aware minimisation (twice the time per step); 0 is off.
        ema_decay: decay of an average of the weights, which is then what is validated and kept; 0 is off.
        precision: number format of the forward pass.
        pipeline: where pictures are augmented.
        validation: training pictures held out to watch the run; the test set is never looked at.
        seed: of initialisation, split, order and augmentation.

    Raises:
        ConfigError: the values do not fit together.
    """

    model: str
    architecture: ViTConfig | None = None
    data: str = "cifar10"
    objective: ObjectiveName = ObjectiveName.CROSS_ENTROPY
    token_weight: float = 1.0
    start: Start = Start.FRESH
    before: TrainConfig | None = None
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    self_distillation: SelfDistillationSettings = field(default_factory=SelfDistillationSettings)
    stored_logits: StoredLogitsSettings = field(default_factory=StoredLogitsSettings)
    token_hooks: tuple[AnyTokenHook, ...] = ()
    weight_hooks: tuple[AnyWeightHook, ...] = ()
    trained: tuple[str, ...] = ()
    epochs: int
    batch_size: int = 128
    optimizer: str = "nadamuon"
    lr: float = 4e-3
    min_lr: float = 0.0
    weight_decay: float = 0.05
    selector_rate: float = 1.0
    layer_decay: float = 1.0
    warmup_epochs: int = 1
    warmup_lr: float | None = None
    warmup_prefix: bool = True
    cooldown_epochs: int = 0
    clip_norm: float | None = 1.0
    smoothing: float = 0.1
    crop_scale: float = 0.7
    auto_augment: str | None = None
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mixup_epochs: int | None = None
    drop_path: float = 0.0
    sam_rho: float = 0.0
    ema_decay: float = 0.0
    precision: FloatFormat = FloatFormat.AUTO
    pipeline: Pipeline = Pipeline.PICTURES
    validation: int = 2500
    seed: int = 0

    def __post_init__(self) -> None:
        shares = {
            name: getattr(self, name)
            for name in ("smoothing", "crop_scale", "erasing", "drop_path", "ema_decay", "layer_decay")
        }
        amounts = {
            name: getattr(self, name)
            for name in ("mixup", "cutmix", "sam_rho", "token_weight", "min_lr", "selector_rate")
        }
        problems = [
            (
                min(self.epochs, self.batch_size) < 1,
                f"{self.epochs} epochs, batches of {self.batch_size}",
                "at least one epoch and one picture",
            ),
            (not all(0 <= share <= 1 for share in shares.values()), f"{shares}", "numbers from 0 to 1"),
            (min(amounts.values()) < 0, f"{amounts}", "numbers from 0"),
            (self.mixes and self.batch_size % 2 == 1, f"batches of {self.batch_size}", "even batches for mixup"),
            (
                self.pipeline == Pipeline.TENSORS and self.auto_augment is not None,
                f"auto_augment '{self.auto_augment}' in the pipeline '{self.pipeline}'",
                f"the pipeline '{Pipeline.PICTURES}', or no auto_augment",
            ),
        ]
        for wrong, got, expected in problems:
            if wrong:
                raise ConfigError(got, expected=expected, remedy="Correct the training configuration.")

    @property
    def mixes(self) -> bool:
        """Whether targets are soft."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def total_epochs(self) -> int:
        """Epochs with the cooldown."""
        return self.epochs + self.cooldown_epochs

    def shortened(self, epochs: int) -> TrainConfig:
        """Return the same run in at most ``epochs`` epochs per stage: phases shrink in proportion, the cooldown
        goes.
        """

        def shrink(count: int) -> int:
            return round(count * epochs / self.epochs)

        before = self.before.shortened(epochs) if self.before is not None else None
        if epochs >= self.epochs:
            return replace(self, before=before)
        return replace(
            self,
            before=before,
            epochs=epochs,
            cooldown_epochs=0,
            warmup_epochs=shrink(self.warmup_epochs),
            mixup_epochs=None if self.mixup_epochs is None else shrink(self.mixup_epochs),
        )
