"""Networks of appendix A and table 2, and the table that lists their layers."""

from began_jax.models.autoencoder import Decoder as Decoder
from began_jax.models.autoencoder import Discriminator as Discriminator
from began_jax.models.autoencoder import Encoder as Encoder
from began_jax.models.autoencoder import LatentEncoder as LatentEncoder
from began_jax.models.autoencoder import check_size as check_size
from began_jax.models.configured import check_networks as check_networks
from began_jax.models.layers import Network as Network
from began_jax.models.layers import apply as apply
from began_jax.models.mlp import AttributeNetwork as AttributeNetwork
from began_jax.models.mlp import LandmarkNetwork as LandmarkNetwork
from began_jax.models.mlp import MultilayerNetwork as MultilayerNetwork
from began_jax.models.table import layer_table as layer_table
