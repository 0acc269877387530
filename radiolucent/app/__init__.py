"""The page in the browser, `radiolucent app`: its tabs, its server, and what guards both."""
