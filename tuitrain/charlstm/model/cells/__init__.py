"""The recurrent cells there are, by name. Needs no torch until one of them computes with it."""

from tuitrain.charlstm.model.cells.cell import Cell
from tuitrain.charlstm.model.cells.gru import GRU
from tuitrain.charlstm.model.cells.lstm import LSTM
from tuitrain.specs import CELLS as DECLARED
from tuitrain.specs import check_declared

CELLS: dict[str, Cell] = {
    "lstm": LSTM(),
    "gru": GRU(),
}
check_declared("cells", DECLARED, CELLS)
