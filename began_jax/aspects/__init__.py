"""Training of an aspect network G_a: latents -> annotation (eqs. 1, 5 and 6), for any latents and any targets.

loss = mean (G_a(z) - T(x))^2, over a batch of 16 and all outputs                     (eqs. 5 and 6)

An ensemble (`AspectConfig.members` > 1) is one state whose leaves have a leading axis of members. Each has a seed of
its own, all have the same validation latents, and the mean of their predictions is the ensemble's.
"""

from began_jax.aspects.fitting import Aspect as Aspect
from began_jax.aspects.fitting import fit_aspect as fit_aspect
from began_jax.aspects.losses import cross_entropy as cross_entropy
from began_jax.aspects.losses import have_absent as have_absent
from began_jax.aspects.losses import log_loss as log_loss
from began_jax.aspects.losses import squared_error as squared_error
from began_jax.aspects.trainer import Trainer as Trainer
from began_jax.aspects.training import AspectState as AspectState
from began_jax.aspects.training import Sight as Sight
from began_jax.aspects.training import Targets as Targets
from began_jax.aspects.training import check_batch as check_batch
from began_jax.aspects.training import check_finite as check_finite
from began_jax.aspects.training import end_epoch as end_epoch
from began_jax.aspects.training import epoch_rows as epoch_rows
from began_jax.aspects.training import fitted_to as fitted_to
from began_jax.aspects.training import fitting_batch as fitting_batch
from began_jax.aspects.training import init as init
from began_jax.aspects.training import optimizer as optimizer
from began_jax.aspects.training import predict as predict
from began_jax.aspects.training import step as step
from began_jax.aspects.training import training_count as training_count
from began_jax.aspects.training import validation_split as validation_split
from began_jax.aspects.training import with_epochs as with_epochs
