"""The pages for people: routes, pictures, templates, and the live view that they share."""
