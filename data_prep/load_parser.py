"""Imported by the process that workers are forked from: loads the compiled parser of Criteo's logs once for all of them."""

from data_prep.criteo_tsv import compile_parser

compile_parser()
