/**
 * Descriptors of the message tables, as server reflection gives them to clients: google.protobuf.FileDescriptorProto, one for each package.
 *
 * Numbers as in google/protobuf/descriptor.proto:
 *     file    { name 1, package 2, dependency 3*, message_type 4*, enum_type 5*, service 6*, syntax 12 }
 *     message { name 1, field 2*, nested_type 3*, enum_type 4*, oneof_decl 8* }     oneof { name 1 }
 *     field   { name 1, number 3, label 4, type 5, type_name 6, oneof_index 9, json_name 10 }
 *     enum    { name 1, value 2* }       value   { name 1, number 2 }
 *     service { name 1, method 2* }      method  { name 1, input 2, output 3, client_streaming 5, server_streaming 6 }
 */
import { ByteOutput } from '../byte_output.ts';
import type { ServiceTable } from '../method.ts';
import {
  type AnyMessageType,
  bool,
  type EnumType,
  type FieldKind,
  int32,
  message,
  messageType,
  oneof,
  repeated,
  string,
} from './message_type.ts';

const EnumValue = messageType('EnumValueDescriptorProto', { name: string(1), number: oneof('n', int32(2)) });
const Enum = messageType('EnumDescriptorProto', {
  name: string(1),
  value: repeated(message(2, () => EnumValue)),
});
const FieldProto = messageType('FieldDescriptorProto', {
  name: string(1),
  number: int32(3),
  label: int32(4),
  type: int32(5),
  type_name: string(6),
  oneof_index: oneof('o', int32(9)),
});
const Oneof = messageType('OneofDescriptorProto', { name: string(1) });
const Message = messageType('DescriptorProto', {
  name: string(1),
  field: repeated(message(2, () => FieldProto)),
  enum_type: repeated(message(4, () => Enum)),
  oneof_decl: repeated(message(8, () => Oneof)),
});
const MethodProto = messageType('MethodDescriptorProto', {
  name: string(1),
  input_type: string(2),
  output_type: string(3),
  client_streaming: bool(5),
  server_streaming: bool(6),
});
const Service = messageType('ServiceDescriptorProto', {
  name: string(1),
  method: repeated(message(2, () => MethodProto)),
});
const File = messageType('FileDescriptorProto', {
  name: string(1),
  package: string(2),
  dependency: repeated(string(3)),
  message_type: repeated(message(4, () => Message)),
  enum_type: repeated(message(5, () => Enum)),
  service: repeated(message(6, () => Service)),
  syntax: string(12),
});

const LABEL_OPTIONAL = 1;
const LABEL_REPEATED = 3;
const TYPES: Readonly<Record<FieldKind, number>> = {
  int64: 3,
  bigInt64: 3,
  uint64: 4,
  bigUint64: 4,
  int32: 5,
  bool: 8,
  string: 9,
  message: 11,
  bytes: 12,
  uint32: 13,
  enum: 14,
};

export interface DescriptorFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly dependencies: readonly string[];
  /** Full names of its services, methods, messages and enumerations. */
  readonly symbols: ReadonlySet<string>;
}

/** The files of all packages that services and their messages belong to, by name. */
export function descriptorFiles(services: readonly ServiceTable[]): ReadonlyMap<string, DescriptorFile> {
  const types = new Map<string, AnyMessageType>();
  const visit = (type: AnyMessageType): void => {
    if (types.has(type.name)) return;
    types.set(type.name, type);
    for (const field of type.fields) if (field.message !== undefined) visit(field.message());
  };
  for (const { methods } of services) {
    for (const { request, response } of methods) {
      visit(request);
      visit(response);
    }
  }
  const packages = new Set([...types.keys(), ...services.map(({ name }) => name)].map(packageOf));
  const files = [...packages].map((name) => {
    const own = [...types.values()].filter((type) => packageOf(type.name) === name);
    return fileOf(
      name,
      own,
      services.filter((service) => packageOf(service.name) === name),
    );
  });
  return new Map(files.map((file) => [file.name, file]));
}

/** Packages are written small, what is in them begins with a capital. */
function packageOf(name: string): string {
  const parts = name.split('.');
  const first = parts.findIndex((part) => /^[A-Z]/.test(part));
  return parts.slice(0, first).join('.');
}

function fileName(packageName: string): string {
  return `${packageName.replaceAll('.', '/')}.proto`;
}

function fileOf(
  packageName: string,
  types: readonly AnyMessageType[],
  services: readonly ServiceTable[],
): DescriptorFile {
  const name = fileName(packageName);
  const used = new Set<string>();
  const enums = new Map<string, EnumType>();
  for (const type of types) {
    for (const { message: inner, enumType } of type.fields) {
      if (inner !== undefined) used.add(packageOf(inner().name));
      if (enumType !== undefined) enums.set(enumType.name, enumType);
    }
  }
  for (const { methods } of services) {
    for (const { request, response } of methods)
      for (const { name: one } of [request, response]) used.add(packageOf(one));
  }
  used.delete(packageName);
  const dependencies = [...used].map(fileName);
  const within = (owner: string): EnumType[] =>
    [...enums.values()].filter((one) => one.name.slice(0, one.name.lastIndexOf('.')) === owner);
  const file = File.create({
    name,
    package: packageName,
    dependency: dependencies,
    message_type: types.map((type) => messageOf(type, within(type.name))),
    enum_type: within(packageName).map(enumOf),
    service: services.map(serviceOf),
    syntax: 'proto3',
  });
  const out = new ByteOutput();
  File.encode(out, file);
  const symbols = new Set([...types.map((type) => type.name), ...enums.keys()]);
  for (const service of services) {
    symbols.add(service.name);
    for (const method of service.methods) symbols.add(`${service.name}.${method.name}`);
  }
  return { name, bytes: out.copyFrom(0), dependencies, symbols };
}

function messageOf(type: AnyMessageType, enums: readonly EnumType[]): ReturnType<typeof Message.create> {
  const oneofs = [...new Set(type.fields.flatMap((field) => field.oneof ?? []))];
  return {
    name: lastOf(type.name),
    field: type.fields.map((field) => ({
      name: field.name,
      number: field.number,
      label: field.repeated ? LABEL_REPEATED : LABEL_OPTIONAL,
      type: TYPES[field.kind],
      type_name: typeNameOf(field),
      oneof_index: field.oneof === undefined ? undefined : oneofs.indexOf(field.oneof),
    })),
    enum_type: enums.map(enumOf),
    oneof_decl: oneofs.map((name) => ({ name })),
  };
}

function typeNameOf({ message: inner, enumType }: AnyMessageType['fields'][number]): string {
  if (inner !== undefined) return `.${inner().name}`;
  return enumType === undefined ? '' : `.${enumType.name}`;
}

function enumOf({ name, values }: EnumType): ReturnType<typeof Enum.create> {
  return {
    name: lastOf(name),
    value: Object.entries(values).map(([one, number]) => ({ name: one, number })),
  };
}

function serviceOf({ name, methods }: ServiceTable): ReturnType<typeof Service.create> {
  return {
    name: lastOf(name),
    method: methods.map((method) => ({
      name: method.name,
      input_type: `.${method.request.name}`,
      output_type: `.${method.response.name}`,
      client_streaming: method.kind === 'stream' && method.clientStreams,
      server_streaming: method.kind === 'stream',
    })),
  };
}

function lastOf(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1);
}
