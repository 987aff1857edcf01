"""Every section of params.yaml."""

from recctl.config import Section


def sections() -> list[type[Section]]:
    """The sections in the order of params.yaml: stages, policy, what retraining needs."""
    from recctl.data.params import IngestParams
    from recctl.evaluation.params import EvaluateParams
    from recctl.forget.params import ForgetParams
    from recctl.intake.params import IntakeParams
    from recctl.monitoring.params import MonitorParams
    from recctl.notify.params import NotifyParams
    from recctl.promotion.judge.policy import PromotionParams
    from recctl.retraining.params import RetrainParams
    from recctl.sequences.params import SequenceSplitParams
    from recctl.serve.params import ServeParams
    from recctl.training.params import TrainParams
    from recctl.tuning.params import TuneParams
    from recctl.validation.params import ValidateParams

    return [
        *(IngestParams, ValidateParams, SequenceSplitParams, TrainParams, EvaluateParams),
        *(TuneParams, PromotionParams, IntakeParams, RetrainParams, MonitorParams, ForgetParams),
        *(NotifyParams, ServeParams),
    ]
