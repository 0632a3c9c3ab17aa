"""Inversion of any generator (eq. 4): starts, steps, what they make small, and the loop that runs them fastest."""

from began_jax.inversion.arrays import Inversion as Inversion
from began_jax.inversion.arrays import invert_all as invert_all
from began_jax.inversion.loop import Inverter as Inverter
from began_jax.inversion.objective import Objective as Objective
from began_jax.inversion.objective import l1 as l1
from began_jax.inversion.objective import l2 as l2
from began_jax.inversion.starts import start as start
from began_jax.inversion.steps import Generate as Generate
from began_jax.inversion.steps import InversionState as InversionState
from began_jax.inversion.steps import best_of as best_of
from began_jax.inversion.steps import finish as finish
from began_jax.inversion.steps import init as init
from began_jax.inversion.steps import invert as invert
from began_jax.inversion.steps import keep_best as keep_best
from began_jax.inversion.steps import optimizer as optimizer
from began_jax.inversion.steps import step as step
from began_jax.inversion.steps import where as where
