"""BEGAN training (appendix A): one pure step on one state pytree, with the other objectives that it can have.

    L(v) = mean |v - D(v)|^p                                                     (A.1; p = `loss_power`)
    L_D  = L(x) - k_t L(G(z_D)),   L_G = L(G(z_G))                               (A.2)
    k_{t+1} = clip(k_t + lambda_k (gamma L(x) - L(G(z_G))), 0, 1)                (A.2)
    M = L(x) + |gamma L(x) - L(G(z_G))|                                          (convergence measure of BEGAN)

Images are float32 NHWC in [-1, 1], latents uniform on [-1, 1]^latent_size.
"""

from began_jax.began.equations import Images as Images
from began_jax.began.equations import autoencoder_loss as autoencoder_loss
from began_jax.began.equations import convergence as convergence
from began_jax.began.equations import convergence_measure as convergence_measure
from began_jax.began.equations import next_k as next_k
from began_jax.began.fitting import Trained as Trained
from began_jax.began.fitting import fit as fit
from began_jax.began.training import SAMPLE_FOLD as SAMPLE_FOLD
from began_jax.began.training import BeganState as BeganState
from began_jax.began.training import autoencoder_gradients as autoencoder_gradients
from began_jax.began.training import check_finite as check_finite
from began_jax.began.training import gradients as gradients
from began_jax.began.training import init as init
from began_jax.began.training import next_average as next_average
from began_jax.began.training import optimizer as optimizer
from began_jax.began.training import samples as samples
from began_jax.began.training import step as step
from began_jax.began.training import track_convergence as track_convergence
from began_jax.began.training import uniform as uniform
from began_jax.models.configured import computation_dtype as computation_dtype
from began_jax.models.configured import encoder_network as encoder_network
from began_jax.models.configured import networks as networks
