"""Pictures that are published as video, made without a codec or an image library.  Pure.

bitmap_font      the letters
mosaic           pictures of flat squares: text cards, colour bars
vp8_key_frame    a mosaic as one encoded frame
image_files      PNG and WebP files as encoded frames
video_patterns   moving patterns as raw frames
"""
