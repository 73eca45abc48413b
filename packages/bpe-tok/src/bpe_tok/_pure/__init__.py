"""The engine in Python: complete, written to be read, and the specification of `bpe_tok._core`.

Text goes through it in this order: `special_finder` cuts it on the special tokens, `pretokenizer`
cuts what lies between into pretokens by the classes of its characters (`character_classes`), and
`merging` joins the bytes of a pretoken into tokens, once for each pretoken (`pretoken_ids`).
Training counts pretokens (`pretoken_counter`) and learns merges from the counts (`learner`).
"""

from bpe_tok._pure.encoder import Encoder
from bpe_tok._pure.learner import Learner
from bpe_tok._pure.pretoken_counter import PretokenCounter

__all__ = ["Encoder", "Learner", "PretokenCounter"]
