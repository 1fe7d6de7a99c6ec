"""The recurrent cells by name. Does not import torch until a cell computes with it."""

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
