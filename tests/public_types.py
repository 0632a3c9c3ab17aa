# pyright: strict
"""A program of a user's in an editor that checks strictly (make lint): each public name has a type that is known."""

import jax
import numpy as np

import began_jax as bj

images = np.zeros((8, 16, 16, 3), np.uint8)
landmarks, masks = np.zeros((8, 49, 2), np.float32), np.zeros((8, 16, 16, 1), np.float32)
key = jax.random.key(0)

config = bj.TrainConfig(height=16, width=16, filters=4, encoder_filters=(4, 6), latent_size=8, batch_size=4)
state = bj.began.init(config)
state, metrics = bj.began.step(config, state, bj.to_uint8(bj.uniform_latents(key, 4, 768).reshape(4, 16, 16, 3)))
trained: bj.Trained = bj.began.fit(images, config)
half = bj.uniform_latents(key, 1).mean()
balance = bj.convergence_measure(half, half, gamma=0.5), bj.next_k(half, half, half, gamma=0.5, lambda_k=0.001)
error = bj.autoencoder_loss(bj.to_float(images), bj.to_float(images), power=1)

z = bj.uniform_latents(key, 4, 8)
near = bj.bootstrap_latents(key, 3, z), bj.interpolated_latents(key, 3, z), bj.interpolate(z[0], z[1])
pictures = bj.to_uint8(trained.generate(z))

own = bj.Generator(lambda p, z: trained.generate(z), None, 8, (16, 16, 3))
found: bj.Inversion = bj.invert_all(trained.generate, images, start=trained.encode, config=bj.INVERT_PRESETS["demo"])
each = bj.invert(bj.InvertConfig(steps=3), trained.generate, bj.to_float(images), found.z)
inverse = bj.Inverter(bj.InvertConfig(steps=3), lambda p, z: trained.generate(z), None, sharding=None)
figures = found.z, found.l1, found.psnr_db, found.loss, found.steps

aspect: bj.Aspect = bj.fit_aspect(found.z, landmarks, config=bj.ASPECT_RECIPES["paper"])
answers = aspect(found.z), aspect.each(found.z), aspect.std(found.z), aspect.history
linear = bj.Ridge(found.z, landmarks)(found.z)
nme, iou = bj.nme_percent(landmarks, landmarks, 16, 16), bj.iou(masks, masks)
accuracy = bj.accuracy_percent(landmarks[..., 0], landmarks[..., 0])
balanced = bj.balanced_accuracy_percent(landmarks[..., 0], landmarks[..., 0])

networks = bj.Decoder(16, 16, 3), bj.Encoder(), bj.Discriminator(16, 16, 3), bj.LandmarkNetwork(49)
others = bj.AttributeNetwork(40), bj.MultilayerNetwork
faces = bj.pretrained("synthetic-faces")
annotated = faces.generate(z), faces.annotate(z), faces.encode(faces.generate(z)), faces.card["figures"]
example = bj.open_data("data/faces").source("train")[0]["image"]
poor = bj.low_quality(key, bj.to_float(images[0]), masks[0], bj.AugmentConfig())
kinds = bj.KINDS["mask"].metric, bj.TRAIN_PRESETS["demo"].steps, bj.AspectConfig(), bj.Objective, bj.Kind
states = bj.BeganState, bj.AspectState, bj.InputError, bj.DivergedError, bj.Unsure, bj.aspects, bj.augment, bj.landmarks
