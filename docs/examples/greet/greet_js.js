exports.handler = async (event, context) => {
  const { name } = event.detail;
  if (!name) throw new TypeError('detail.name is missing');
  return { language: 'Node', greeting: name };
};
