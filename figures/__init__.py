"""Figures from tables: each `plot_<what>(table)` returns a figure, neither shown nor saved."""

from figures.accuracy_by_category import plot_accuracy_by_category
from figures.accuracy_forest import plot_accuracy_forest
from figures.adaptation_curves import plot_adaptation_curves
from figures.adaptation_forest import plot_adaptation_forest
from figures.adaptation_projection import plot_adaptation_projection
from figures.adaptation_survival import plot_adaptation_survival
from figures.arc_ratio_by_alpha import plot_arc_ratio_by_alpha
from figures.curvature_by_layer import plot_curvature_by_layer
from figures.curvature_by_token import plot_curvature_by_token
from figures.decomposition_columns import plot_decomposition_columns
from figures.decomposition_histogram import plot_importance_histogram
from figures.decomposition_importances import plot_decomposition_importances
from figures.decomposition_mean_importance import plot_mean_importance
from figures.decomposition_metrics import plot_decomposition_metrics
from figures.decomposition_published import plot_decomposition_published
from figures.export import save_figure
from figures.gains_by_target import plot_gains_by_target
from figures.gap_and_bound import plot_gap_and_bound
from figures.gate_by_token import plot_gate_by_token
from figures.judge_agreement import plot_judge_agreement
from figures.judge_consistency import plot_judge_consistency
from figures.latex import interval_table, latex_table
from figures.layers_by_alpha import plot_layers_by_alpha
from figures.layerwise_heatmap import plot_layerwise_heatmap
from figures.layerwise_lines import plot_layerwise_lines
from figures.next_tokens import plot_next_tokens
from figures.notebook import use_in_notebooks
from figures.output_divergence import plot_output_divergence
from figures.page import Section, render_page
from figures.recovery_by_task import plot_recovery_by_task
from figures.recovery_sensitivity import plot_recovery_sensitivity
from figures.recovery_trials import plot_best_by_trial, plot_recoveries_by_trial
from figures.residual_paths import plot_residual_paths
from figures.residual_paths_3d import plot_residual_paths_3d
from figures.rounds_curves import plot_rounds_curves
from figures.signal_ranks import plot_signal_ranks
from figures.similarity_against_transfer import plot_similarity_against_transfer
from figures.similarity_by_layer import plot_similarity_by_layer
from figures.skill_and_cost import plot_skill_and_cost
from figures.template import TEMPLATE
from figures.tightness import plot_tightness
from figures.token_probabilities import plot_token_probabilities
from figures.transfer_heatmap import plot_transfer_heatmap
from figures.weights_by_source import plot_weights_by_source
from figures.win_rates import plot_win_rates

__all__ = [
    "TEMPLATE",
    "Section",
    "interval_table",
    "latex_table",
    "plot_accuracy_by_category",
    "plot_adaptation_curves",
    "plot_adaptation_forest",
    "plot_adaptation_projection",
    "plot_adaptation_survival",
    "plot_accuracy_forest",
    "plot_arc_ratio_by_alpha",
    "plot_curvature_by_layer",
    "plot_curvature_by_token",
    "plot_decomposition_columns",
    "plot_decomposition_importances",
    "plot_mean_importance",
    "plot_decomposition_metrics",
    "plot_decomposition_published",
    "plot_importance_histogram",
    "plot_gap_and_bound",
    "plot_gate_by_token",
    "plot_layers_by_alpha",
    "plot_layerwise_heatmap",
    "plot_layerwise_lines",
    "plot_output_divergence",
    "plot_next_tokens",
    "plot_judge_agreement",
    "plot_judge_consistency",
    "plot_best_by_trial",
    "plot_recoveries_by_trial",
    "plot_recovery_by_task",
    "plot_recovery_sensitivity",
    "plot_residual_paths",
    "plot_residual_paths_3d",
    "plot_signal_ranks",
    "plot_similarity_by_layer",
    "plot_skill_and_cost",
    "plot_tightness",
    "plot_token_probabilities",
    "plot_win_rates",
    "plot_gains_by_target",
    "plot_rounds_curves",
    "plot_similarity_against_transfer",
    "plot_transfer_heatmap",
    "plot_weights_by_source",
    "render_page",
    "save_figure",
    "use_in_notebooks",
]
