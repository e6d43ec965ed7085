"""Small image generators in plain torch: one file a family, with its recipe and weights.

Every family's file offers the same:

* ``Config``, from which the architecture is rebuilt;
* the modules, of which one has ``sample(noise, labels)``: a pure function of its arguments, and
  where it has a likelihood ``log_likelihood(images, labels, noise)``;
* a recipe: how it learns, a step at a time; ``training.fit`` is the loop around it;
* ``load(path)``, which reads a safetensors file that ``benchgen train`` wrote.

``shapes`` draws a data set whose factors are known; ``shapes_net`` reads them from an image. The
shipped weights lie in ``weights``. ``plugin`` alone knows benchgen.
"""
