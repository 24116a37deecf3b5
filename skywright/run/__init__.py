"""A recipe's steps, joined: corpus, tokenizer, tokens, train, evaluate, leak, study, report.

`recipe` says what a recipe holds, `steps` what each step calls, `runner` runs them in order.
"""

from skywright.run.recipe import CorpusRecipe, Recipe, load_corpus_recipe, load_recipe
from skywright.run.runner import StepResult, plan_steps, run_recipe
from skywright.run.steps import training_plan

__all__ = [
    "CorpusRecipe",
    "Recipe",
    "StepResult",
    "load_corpus_recipe",
    "load_recipe",
    "plan_steps",
    "run_recipe",
    "training_plan",
]
