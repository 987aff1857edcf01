"""The tables of networks and of counted models by name."""

from recctl.models.base import Counted
from recctl.models.bert4rec import Bert4Rec
from recctl.models.caser import Caser
from recctl.models.encoder import Neural
from recctl.models.item_knn import ItemKNN
from recctl.models.markov import Markov
from recctl.models.popularity import Popularity, RecentPopularity
from recctl.models.recurrent import Gru4Rec, LstmRec
from recctl.models.sasrec import SASRec

BASELINES: dict[str, type[Counted]] = {model.kind: model for model in (Popularity, Markov, ItemKNN)}
"""Models that every evaluation compares with."""

COUNTED: dict[str, type[Counted]] = {**BASELINES, RecentPopularity.kind: RecentPopularity}
"""Models that one pass over the data fits, without randomness."""

NEURAL: dict[str, type[Neural]] = {
    model.kind: model for model in (Bert4Rec, SASRec, Gru4Rec, LstmRec, Caser)
}
"""Networks, trained in epochs; the settings of each are under its name in params.yaml."""
