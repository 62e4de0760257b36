/** The trees that can run on this machine. */
import { loadOrSkip } from '../rocksdb_lab.ts';
import { TABLES_TREE } from './tables_subject.ts';
import { rocksDbSubject, type TreeSubject } from './tree_subject.ts';

/** Those that live on the Disk port, so that crashes and damage can be played on them. */
export const PORT_SUBJECTS: readonly TreeSubject[] = [TABLES_TREE];

/** KVORUM_TREE_ONLY: those whose name contains it. */
export async function subjectsHere(): Promise<TreeSubject[]> {
  const binding = await loadOrSkip();
  const all = binding === undefined ? [...PORT_SUBJECTS] : [...PORT_SUBJECTS, rocksDbSubject(binding)];
  return chosen(all);
}

export function chosen(subjects: readonly TreeSubject[]): TreeSubject[] {
  const word = process.env['KVORUM_TREE_ONLY'];
  return subjects.filter(({ name }) => word === undefined || name.includes(word));
}
