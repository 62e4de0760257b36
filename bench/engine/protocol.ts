/**
 * What the benchmark and the process that measures one peer say to each other, over the channel of a forked process.
 *
 * A child first tells its plan: the steps to do, in order. The parent goes through the plans of all peers of a section together, a step of each peer in turn, so that a slow
 * spell of the machine hits all of them, and waits for each answer: only one process works at a time. Last it asks for the rows. A child ends when the channel closes.
 */
import { z } from 'zod';
import { PEER_NAMES } from './peer.ts';

export const SECTIONS = ['small', 'fsync', 'large', 'threads'] as const;
export type SectionName = (typeof SECTIONS)[number];

/** What a child is told on its command line. */
export const taskSchema = z.object({
  section: z.enum(SECTIONS),
  peer: z.enum(PEER_NAMES),
  directory: z.string(),
  keys: z.int().min(1),
  /** The measure of every round that is bounded by time. */
  seconds: z.number().positive(),
  rounds: z.int().min(1),
});
export type Task = z.infer<typeof taskSchema>;

export const requestSchema = z.object({ step: z.string() });
export type Request = z.infer<typeof requestSchema>;

const number = z.number().optional();
const resultSchema = z.object({
  peer: z.string(),
  case: z.string(),
  opsPerSecond: number,
  p50Us: number,
  p95Us: number,
  p99Us: number,
  mbPerSecond: number,
  gcPercent: number,
  bytesPerKey: number,
  rssMb: number,
  note: z.string().optional(),
});
export const answerSchema = z.union([
  z.object({ plan: z.array(z.string()) }),
  z.object({ done: z.string() }),
  z.object({ results: z.array(resultSchema) }),
  z.object({ failed: z.string() }),
]);
export type ChildAnswer = z.infer<typeof answerSchema>;

/** The step after the plan: the child closes its stores and answers with its rows. */
export const REPORT = 'report';
