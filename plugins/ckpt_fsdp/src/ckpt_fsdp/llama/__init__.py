"""Format `llama`: Meta's own layout of LLaMA.

`params.json` and `consolidated.00.pth`, `consolidated.01.pth`, …: one a rank.

Source: llama `llama/model.py` (ColumnParallelLinear, RowParallelLinear, ParallelEmbedding), `llama/generation.py`
(Llama.build); llama3 `llama/model.py` (VocabParallelEmbedding).
"""
