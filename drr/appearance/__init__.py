"""From line integrals to what a radiograph shows: detector, display, physics, film, and what is drawn on top."""
