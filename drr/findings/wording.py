"""The words of reports: how a view is called, and the sentences of each finding on a frontal and on a lateral view."""

from __future__ import annotations

import numpy as np

from drr.geometry import VIEWS

LATERAL_FROM = 0.87  # of the sine of the view's angle: 60 degrees away from frontal the side is not determined
TECHNIQUES = {"RAO": "Right anterior oblique", "LAO": "Left anterior oblique", "drr-rate": "AP", "PA": "PA", "AP": "AP"}
DENIALS = {
    "cardiomegaly": ("The heart is of normal size.", "No cardiomegaly."),
    "nodule": ("No nodule or mass is seen.", "There is no lung mass."),
    "consolidation": ("No consolidation.", "The lungs are without airspace opacity."),
    "pleural effusion": ("No pleural effusion.", "The costophrenic angles are sharp."),
    "pneumothorax": ("No pneumothorax.", "There is no pneumothorax."),
}
# {kind: ((sentences of the findings), (sentences of the impression))}; a lateral's words have no side
FRONTAL_WORDS = {
    "nodule": (
        ("There is {nodule} in the {place}.", "{nodule_cap} is seen in the {place}.", "{place_cap}: {nodule}."),
        (
            "{place_cap} {lump} of {mm} mm.",
            "{mm} mm {lump} in the {place}.",
            "{mm} mm {lump}, {place}.",
        ),
    ),
    "consolidation": (
        (
            "There is airspace opacity in the {place}.",
            "{extent} opacification of the {place} is seen.",
            "The {place} shows {extent_low} consolidation.",
        ),
        ("{extent} consolidation in the {place}.", "Consolidation of the {place}.", "{place_cap} consolidation."),
    ),
    "pleural effusion": (
        (
            "The {side} costophrenic angle is blunted by fluid with a meniscus along the lateral chest wall.",
            "There is a {amount_low} {side} pleural effusion.",
            "Blunting of the {side} costophrenic angle by {amount_low} pleural fluid.",
        ),
        ("{amount} {side} pleural effusion.", "{side_cap} pleural effusion, {amount_low}."),
    ),
    "pneumothorax": (
        (
            "A visceral pleural line is seen on the {side}; the gap at the apex measures {gap} mm.",
            "There is a {size_low} {side} pneumothorax, {gap} mm at the apex.",
            "{side_cap} pneumothorax with an apical gap of {gap} mm.",
        ),
        ("{size} {side} pneumothorax.", "{side_cap} pneumothorax, {size_low}."),
    ),
    "cardiomegaly": (
        (
            "The cardiac silhouette is enlarged, with a cardiothoracic ratio of {ratio}.",
            "The heart is enlarged; the cardiothoracic ratio is {ratio}.",
            "Enlargement of the cardiac silhouette (cardiothoracic ratio {ratio}).",
        ),
        ("Cardiomegaly.", "Enlarged heart."),
    ),
}
LATERAL_WORDS = {
    "nodule": (
        (
            "{nodule_cap} projects over the {where}; its side is not determined on this view.",
            "There is {nodule} over the {where}.",
        ),
        ("{lump_cap} of {mm} mm projecting over the {where}.",),
    ),
    "consolidation": (
        (
            "Airspace opacity projects over the {where}; its side is not determined on this view.",
            "There is {extent_low} opacification over the {where}.",
        ),
        ("{extent} consolidation projecting over the {where}.",),
    ),
    "pleural effusion": (
        (
            "A posterior costophrenic angle is blunted by fluid with a meniscus; its side is not determined.",
            "There is a {amount_low} pleural effusion.",
        ),
        ("{amount} pleural effusion.",),
    ),
    "pneumothorax": (
        (
            "A visceral pleural line is seen without lung markings beyond it; its side is not determined.",
            "There is a {size_low} pneumothorax.",
        ),
        ("{size} pneumothorax.",),
    ),
    "cardiomegaly": (
        (
            "The cardiac silhouette is enlarged, with less retrosternal and retrocardiac space.",
            "The heart is enlarged.",
        ),
        ("Cardiomegaly.", "Enlarged heart."),
    ),
}
NOTHING = "No finding was added to the underlying examination."


def technique(view: str, orbit_degrees: float = 0.0) -> str:
    """How a picture was taken, as a report begins.

    Args:
        view: A name of `drr.geometry.VIEWS`.
        orbit_degrees: By which it was turned.

    Returns:
        Such as "PA chest radiograph." or "PA chest radiograph, turned by 30 degrees."

    Raises:
        ValueError: An unknown view.
    """
    turned = f", turned by {orbit_degrees:g} degrees" if orbit_degrees else ""
    name = TECHNIQUES.get(view) or ("Lateral" if is_lateral(view) else view)
    return f"{name} chest radiograph{turned}."


def is_lateral(view: str, orbit_degrees: float = 0.0) -> bool:
    """Whether a view is too near to a lateral to tell right from left.

    Args:
        view: A name of `drr.geometry.VIEWS`.
        orbit_degrees: By which it was turned.

    Returns:
        True if the direction to the source lies close enough to a side of the patient.

    Raises:
        ValueError: An unknown view.
    """
    if view not in VIEWS:
        raise ValueError(f"no view is called {view!r}; give one of {', '.join(VIEWS)}")
    x, y, _ = VIEWS[view].to_source
    return bool(abs(np.sin(np.arctan2(-x, y) + np.radians(orbit_degrees))) > LATERAL_FROM)
