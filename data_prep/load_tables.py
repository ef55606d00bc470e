"""Imported by the process that workers are forked from: loads what reads tables, compiled code included, once for all of them."""

import data_prep.table_files
import data_prep.tables  # noqa: F401
from data_prep.text_hash import compile_kernels

compile_kernels()
