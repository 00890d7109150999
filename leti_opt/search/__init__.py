"""Searching cells."""

from leti_opt.search.architecture_search import ArchitectureSearch, SearchResult, SearchSettings, SearchStep
from leti_opt.search.pareto import pareto_indices

__all__ = ["ArchitectureSearch", "SearchResult", "SearchSettings", "SearchStep", "pareto_indices"]
