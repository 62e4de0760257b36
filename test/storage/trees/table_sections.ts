/** Where the parts of whole tables and manifests lie (docs/formats/table.md, manifest.ts). */
import type { Section } from './damage_harness.ts';

const FOOTER_BYTES = 64;
const INDEX_HEADER_BYTES = 8;
const INDEX_ENTRY_BYTES = 40;
const MANIFEST_HEADER_BYTES = 80;

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function tableSections(bytes: Uint8Array): Section[] {
  const view = viewOf(bytes);
  const footer = bytes.length - FOOTER_BYTES;
  const sections: Section[] = [];
  const index = view.getUint32(footer + 8, true);
  for (let block = 0; block < view.getUint32(index, true); block++) {
    const at = index + INDEX_HEADER_BYTES + block * INDEX_ENTRY_BYTES;
    const start = view.getUint32(at + 8, true);
    sections.push({ name: 'block', start, end: start + view.getUint32(at + 12, true) });
  }
  for (const [i, name] of ['filter', 'index', 'properties'].entries()) {
    const start = view.getUint32(footer + 8 * i, true);
    sections.push({ name, start, end: start + view.getUint32(footer + 8 * i + 4, true) });
  }
  sections.push({ name: 'footer', start: footer, end: bytes.length });
  return sections;
}

export function manifestSections(bytes: Uint8Array): Section[] {
  const state = MANIFEST_HEADER_BYTES + viewOf(bytes).getUint32(72, true);
  return [
    { name: 'header', start: 0, end: MANIFEST_HEADER_BYTES },
    { name: 'state', start: MANIFEST_HEADER_BYTES, end: state },
    { name: 'tables', start: state, end: bytes.length - 4 },
    { name: 'checksum', start: bytes.length - 4, end: bytes.length },
  ];
}
