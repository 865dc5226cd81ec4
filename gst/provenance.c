/* lightforce: what a video was made from, in tags and in each frame
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/provenance.h"

#include "gst/promptevent.h"

#define META_NAME "LightforceMeta"

void
lf_provenance_init (LfProvenance *provenance)
{
  *provenance = (LfProvenance){.hashes = g_ptr_array_new_with_free_func (g_free),
      .seeds = g_array_new (FALSE, FALSE, sizeof (guint64))};
}

void
lf_provenance_reset (LfProvenance *provenance)
{
  provenance->known = FALSE;
  g_clear_pointer (&provenance->hash, g_free);
  g_ptr_array_set_size (provenance->hashes, 0);
  g_array_set_size (provenance->seeds, 0);
}

void
lf_provenance_clear (LfProvenance *provenance)
{
  lf_provenance_reset (provenance);
  g_ptr_array_unref (provenance->hashes);
  g_array_unref (provenance->seeds);
}

static char *
hash_prompt (const char *prompt)
{
  return g_compute_checksum_for_string (G_CHECKSUM_SHA256, prompt, -1);
}

static void
note_hash (GPtrArray *hashes, const char *hash)
{
  if (g_ptr_array_find_with_equal_func (hashes, hash, g_str_equal, NULL))
    return;
  if (hashes->len == LF_PROVENANCE_MAX)
    g_ptr_array_remove_index (hashes, 0);
  g_ptr_array_add (hashes, g_strdup (hash));
}

static void
note_seed (GArray *seeds, guint64 seed)
{
  guint i;

  for (i = 0; i < seeds->len; i++)
    if (g_array_index (seeds, guint64, i) == seed)
      return;
  if (seeds->len == LF_PROVENANCE_MAX)
    g_array_remove_index (seeds, 0);
  g_array_append_val (seeds, seed);
}

gboolean
lf_provenance_update (LfProvenance *provenance, const LfChunk *chunk, const char *prompt)
{
  if (provenance->known && provenance->serial == chunk->prompt_serial)
    return FALSE;
  provenance->known = TRUE;
  provenance->serial = chunk->prompt_serial;
  g_free (provenance->hash);
  provenance->hash = hash_prompt (prompt);
  note_hash (provenance->hashes, provenance->hash);
  note_seed (provenance->seeds, chunk->seed);
  return TRUE;
}

/* Those of texts that have not shown yet. */
static GPtrArray *
hash_later (const LfProvenance *provenance, const GPtrArray *later)
{
  GPtrArray *hashes = g_ptr_array_new_with_free_func (g_free);
  guint i;

  for (i = 0; i < later->len; i++) {
    g_autofree char *hash = hash_prompt (g_ptr_array_index (later, i));

    if (!g_ptr_array_find_with_equal_func (provenance->hashes, hash, g_str_equal, NULL))
      note_hash (hashes, hash);
  }
  return hashes;
}

static void
add_hashes (GPtrArray *lines, const char *name, const GPtrArray *hashes)
{
  guint i;

  for (i = 0; i < hashes->len; i++)
    g_ptr_array_add (
        lines, g_strdup_printf ("%s=%s", name, (const char *) g_ptr_array_index (hashes, i)));
}

/* Elements that write files keep different tags of these: all of them keep the comment, MP4 the
 * application's name, Ogg the extended comments. The names of elements that encode replace
 * `encoder`. Some keep the first comment and some the last one, therefore each tells of what was
 * and of what is known to follow. The scope stays the stream's: of global tags, those that keep the
 * last comment would keep the first. */
GstTagList *
lf_provenance_make_tags (const LfProvenance *provenance, const LfModelInfo *info,
    const char *image_hash, const GPtrArray *later, const char *prompt)
{
  GstTagList *tags = gst_tag_list_new_empty ();
  g_autoptr (GPtrArray) later_hashes = hash_later (provenance, later);
  g_autoptr (GPtrArray) lines = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *version = g_strdup_printf ("lightforce %s", lf_version ());
  g_autofree char *comment = NULL;
  guint i;

  g_ptr_array_add (lines, g_strdup_printf ("lightforce-version=%s", lf_version ()));
  g_ptr_array_add (lines, g_strdup_printf ("lightforce-model=%s", info->name));
  for (i = 0; i < provenance->seeds->len; i++)
    g_ptr_array_add (lines, g_strdup_printf ("lightforce-seed=%" G_GUINT64_FORMAT,
                                g_array_index (provenance->seeds, guint64, i)));
  if (image_hash)
    g_ptr_array_add (lines, g_strdup_printf ("lightforce-start-image-sha256=%s", image_hash));
  add_hashes (lines, "lightforce-prompt-sha256", provenance->hashes);
  add_hashes (lines, "lightforce-later-prompt-sha256", later_hashes);
  for (i = 0; i < lines->len; i++)
    gst_tag_list_add (tags, GST_TAG_MERGE_APPEND, GST_TAG_EXTENDED_COMMENT,
        (const char *) g_ptr_array_index (lines, i), NULL);
  g_ptr_array_add (lines, NULL);
  comment = g_strjoinv ("; ", (char **) lines->pdata);
  gst_tag_list_add (tags, GST_TAG_MERGE_APPEND, GST_TAG_COMMENT, comment, GST_TAG_APPLICATION_NAME,
      version, GST_TAG_ENCODER, version, NULL);
  if (prompt && *prompt)
    gst_tag_list_add (
        tags, GST_TAG_MERGE_APPEND, GST_TAG_TITLE, prompt, GST_TAG_DESCRIPTION, prompt, NULL);
  return tags;
}

GstEvent *
lf_provenance_make_event (const LfProvenance *provenance, const LfChunk *chunk, guint64 frame,
    GstClockTime pts, const char *prompt)
{
  GstStructure *s = gst_structure_new (LF_PROMPT_EVENT, "serial", G_TYPE_UINT, chunk->prompt_serial,
      "offset", G_TYPE_UINT64, frame, "pts", G_TYPE_UINT64, pts, "prompt-sha256", G_TYPE_STRING,
      provenance->hash, NULL);

  if (prompt)
    gst_structure_set (s, "prompt", G_TYPE_STRING, prompt, NULL);
  return gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, s);
}

/* Without tags of its own: elements that change size or format keep it, for it stays true. */
void
lf_provenance_register_meta (void)
{
  static const gchar *no_tags[] = {NULL};

  gst_meta_register_custom (META_NAME, no_tags, NULL, NULL, NULL);
}

void
lf_provenance_add_meta (const LfProvenance *provenance, GstBuffer *buffer, const LfModelInfo *info,
    const LfChunk *chunk, guint frame_in_chunk)
{
  GstCustomMeta *meta = gst_buffer_add_custom_meta (buffer, META_NAME);

  gst_structure_set (gst_custom_meta_get_structure (meta), "chunk", G_TYPE_UINT64, chunk->index,
      "frame-in-chunk", G_TYPE_UINT, frame_in_chunk, "seed", G_TYPE_UINT64, chunk->seed,
      "prompt-serial", G_TYPE_UINT, chunk->prompt_serial, "sparsity", G_TYPE_DOUBLE,
      chunk->sparsity, "model", G_TYPE_STRING, info->name, "prompt-sha256", G_TYPE_STRING,
      provenance->hash, NULL);
}
