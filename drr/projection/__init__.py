"""Line integrals of a CT: the specification in torch, and the backends that compute the same."""
