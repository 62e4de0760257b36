/** `kvorum compact`, `hash` and `alarm`: looking after the store. */
import type { Command } from 'commander';
import { KvError } from '../errors.ts';
import type { Alarm, AlarmType } from '../kv/upkeep_command.ts';
import type { AlarmsResponse } from '../wire/upkeep_messages.ts';
import { type GlobalOptions, positiveInteger, withAdmin } from './endpoints.ts';
import { EXIT_FAILED, note, print, printJson, table } from './output.ts';

const SHOWN_DIGITS = 16;

export function addUpkeepCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();

  program
    .command('compact')
    .description('drop history up to a revision, which stays readable')
    .argument('<revision>')
    .option('--physical', 'return only when the node asked has flushed, so that its disk can be freed')
    .addHelpText('after', '\nExample:\n  kvorum compact 1200')
    .action((revision: string, { physical }: { physical?: boolean }) =>
      withAdmin(globals(), async (admin) => {
        const request = { revision: positiveInteger('revision', revision, 0), physical: physical === true };
        const current = await admin.upkeep.compact(request);
        if (globals().json) printJson({ compactRevision: request.revision, revision: current });
        else print(`compacted at ${request.revision}; the store is at ${current}`);
      }),
    );

  program
    .command('hash')
    .description('compare what all members hold; exit status 1 when they differ')
    .addHelpText('after', '\nMembers that differ raise the alarm CORRUPT.\n\nExample:\n  kvorum hash')
    .action(() =>
      withAdmin(globals(), async (admin) => {
        const compared = await admin.upkeep.clusterHash();
        if (compared.differing.length > 0) process.exitCode = EXIT_FAILED;
        if (globals().json) return printJson(compared);
        const rows = compared.members.map(({ id, hash, problem }) => [
          String(id),
          hash?.hash.slice(0, SHOWN_DIGITS) ?? '-',
          String(hash?.versions ?? '-'),
          compared.differing.includes(id) ? 'DIFFERS' : problem,
        ]);
        print(table([['node', 'hash', 'versions', ''], ...rows]));
        note(`at revision ${compared.revision}, from ${compared.compactRevision} on`);
      }),
    );

  const alarm = program.command('alarm').description('list, raise and clear alarms');
  alarm
    .command('list')
    .description('the active alarms')
    .action(() => withAdmin(globals(), async (admin) => showAlarms(await admin.upkeep.alarms(), globals())));
  for (const action of ['raise', 'clear'] as const) {
    alarm
      .command(action)
      .description(`${action} an alarm`)
      .argument('<type>', 'nospace or corrupt')
      .argument('[member]', 'whom it concerns', '0')
      .action((type: string, member: string) =>
        withAdmin(globals(), async (admin) =>
          showAlarms(
            await admin.upkeep.changeAlarm(action, alarmOf(type, member)),
            globals(),
            action === 'raise' ? 'active: ' : 'cleared: ',
          ),
        ),
      );
  }
  alarm.addHelpText('after', '\nExamples:\n  kvorum alarm list\n  kvorum alarm clear nospace 2');
}

function alarmOf(type: string, member: string): Alarm {
  if (type !== 'nospace' && type !== 'corrupt')
    throw new KvError('INVALID_ARGUMENT', `the alarm is ${JSON.stringify(type)}, allowed: nospace, corrupt`);
  return { type: type satisfies AlarmType, member: positiveInteger('member', member, 0), byNode: false };
}

function showAlarms({ alarms }: AlarmsResponse, { json }: GlobalOptions, verb = ''): void {
  if (json) return printJson({ alarms });
  if (alarms.length === 0) return note('no such alarm');
  for (const { type, member } of alarms) print(`${verb}${type} ${member}`);
}
